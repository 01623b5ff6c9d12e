//! The command line.

use std::process::{Command, Output};

use crate::harness::{model, program, tiny_model};

fn run(folder: &std::path::Path, args: &[&str]) -> Output {
    program().current_dir(folder).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn generate_draws_into_a_file_and_does_not_write_over_one() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    for name in ["apple.png", "apple.jpg", "apple.webp"] {
        let args = ["generate", "a red apple", "-o", name, "--steps", "2", "--seed", "7", "--model", &model];
        let output = run(folder.path(), &args);
        assert!(output.status.success(), "{}", stderr(&output));
        let file = std::fs::read(folder.path().join(name)).unwrap();
        assert!(image::load_from_memory(&file).is_ok());
        let again = run(folder.path(), &args);
        assert!(!again.status.success() && stderr(&again).contains("--force"), "{}", stderr(&again));
        let forced = run(folder.path(), &[&args[..], &["--force", "--quiet"]].concat());
        assert!(forced.status.success() && forced.stderr.is_empty(), "{}", stderr(&forced));
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), file);
    }
    let output = run(folder.path(), &["generate", "A red apple!", "--steps", "1", "--model", &model]);
    assert!(
        output.status.success() && folder.path().join("a-red-apple.png").is_file(),
        "{}",
        stderr(&output)
    );
    let output = run(folder.path(), &["generate", "a", "-o", "-", "-q", "--steps", "1", "--model", &model]);
    assert!(image::load_from_memory(&output.stdout).is_ok(), "{}", stderr(&output));
}

#[test]
fn a_limit_of_addresses_leaves_the_picture_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let mut args = vec!["generate", "a red apple", "-q", "--steps", "2", "--seed", "7", "--model", &model];
    // Threads take addresses, too.
    args.extend(["--threads", "1", "-o", "-"]);
    let plain = run(folder.path(), &args);
    // In KiB: less than the memory of large tensors wants to lie in.
    let script = "ulimit -v 8388608 && exec \"$0\" \"$@\"";
    let program = program();
    let limited =
        Command::new("sh").args(["-c", script]).arg(program.get_program()).args(args).output().unwrap();
    assert!(limited.status.success(), "{}", stderr(&limited));
    assert!(!plain.stdout.is_empty() && limited.stdout == plain.stdout);
}

#[test]
fn previews_are_files_beside_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let args = ["generate", "a red apple", "-q", "--steps", "4", "--seed", "7", "--model", &model, "-o"];
    let plain = run(folder.path(), &[&args[..], &["plain.png"]].concat());
    assert!(plain.status.success(), "{}", stderr(&plain));
    let with = [&args[..], &["apple.png", "--previews", "2"]].concat();
    let output = run(folder.path(), &with);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(read("apple.png"), read("plain.png"));
    for name in ["apple.preview-01.jpg", "apple.preview-02.jpg"] {
        let preview = image::load_from_memory(&read(name)).unwrap();
        assert_eq!((preview.width(), preview.height()), (128, 128), "{name}");
    }
    assert_ne!(read("apple.preview-01.jpg"), read("apple.preview-02.jpg"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);

    std::fs::remove_file(folder.path().join("apple.png")).unwrap();
    let again = run(folder.path(), &with);
    assert!(stderr(&again).contains("apple.preview-01.jpg is there already"), "{}", stderr(&again));
    assert!(!folder.path().join("apple.png").exists());
    assert!(run(folder.path(), &[&with[..], &["--force"]].concat()).status.success());
}

#[test]
fn faster_pictures_say_so_in_their_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_model();
    let flags = [
        "--guidance-start",
        "0.25",
        "--guidance-end",
        "0.75",
        "--cache-interval",
        "2",
        "--token-merging",
        "0.5",
    ];
    let mut args = vec!["generate", "a", "-o", "-", "-q", "--steps", "4", "--model", &model];
    args.extend(flags);
    let output = run(folder.path(), &args);
    let words = b"CFG interval: 0.25-0.75, DeepCache interval: 2, Token merging ratio: 0.5";
    assert!(output.stdout.windows(words.len()).any(|part| part == words), "{}", stderr(&output));
}

#[test]
fn errors_name_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_model();
    for (args, words) in [
        (&["--steps", "0"][..], "--steps: must be from 1 to 1000"),
        (&["--width", "63"], "--width: must be a multiple of"),
        (&["--scheduler", "eular"], "did you mean \"euler\"?"),
        (&["--strength", "0.5"], "--strength: needs an image"),
        (&["--image", "nowhere.png"], "nowhere.png"),
        (&["--guidance-scale", "nan"], "--guidance-scale: must be from 0"),
        (&["--guidance-start", "nan"], "--guidance-start: must be from 0 to 1, got NaN"),
        (
            &["--guidance-start", "0.5", "--guidance-end", "0.4"],
            "--guidance-end: must be above guidance_start",
        ),
        (&["--cache-interval", "11"], "--cache-interval: must be from 1 (off) to 10, got 11"),
        (&["--token-merging", "0.8"], "--token-merging: must be from 0 to 0.75, got 0.8"),
        (&["--previews", "21"], "--previews: must be from 0 to 20, got 21"),
        (&["--previews", "1", "-o", "-"], "--previews: are files beside the picture's"),
        (&["--seed", "-1"], "--seed"),
        (&["-o", "a.gif"], "--output: a.gif must end in .png"),
        (&["-o", "no/where.png"], "--output: there is no folder no"),
        (&["--model", "./nowhere"], "no such folder"),
        (&["--model", "hf://a/b"], "diffusion-server fetch hf://a/b --output DIR"),
        (&["--precision", "f8"], "--precision"),
        (&["--step", "3"], "--steps"),
    ] {
        let mut all = vec!["generate", "a", "--force"];
        if !args.contains(&"--model") {
            all.extend(["--model", &model]);
        }
        all.extend(args);
        let output = run(folder.path(), &all);
        assert!(!output.status.success() && stderr(&output).contains(words), "{args:?}: {}", stderr(&output));
    }
    let serve = run(
        folder.path(),
        &["serve", "--model", "./nowhere", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
    );
    assert!(!serve.status.success() && stderr(&serve).contains("no such folder"), "{}", stderr(&serve));
}

#[test]
fn variables_are_flags() {
    let folder = tempfile::tempdir().unwrap();
    let output = program()
        .current_dir(folder.path())
        .args(["generate", "a"])
        .env("DIFFUSION_MODEL", tiny_model())
        .env("DIFFUSION_OUTPUT", "b.png")
        .env("DIFFUSION_STEPS", "1")
        .output()
        .unwrap();
    assert!(output.status.success() && folder.path().join("b.png").is_file(), "{}", stderr(&output));
    let output = program().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in ["DIFFUSION_MAX_QUEUE_SECONDS", "0.0.0.0:8080", "bundled://emoji", "SIGTERM"] {
        assert!(help.contains(word), "{word} in\n{help}");
    }
}
