//! The allocator as a program has it: for everything.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

use diffusion_kernels::{Allocator, give_back};

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator(System);

/// Bytes of this process that are in memory.
#[cfg(target_os = "linux")]
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find(|line| line.starts_with("Rss:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? << 10)
}

/// One test, as they look at the memory of the whole process.
#[test]
fn large_blocks_are_used_again_and_given_back() {
    const SIZE: usize = 64 << 20;
    let first = vec![1u8; SIZE];
    let place = first.as_ptr();
    drop(first);

    // The same memory, zeroed.
    let again = vec![0u8; SIZE];
    assert_eq!(again.as_ptr(), place);
    assert!(again.iter().all(|x| *x == 0));
    drop(again);

    // A large block grows and shrinks, past the size from which on it is one, with its contents.
    let mut bytes: Vec<u8> = (0..100u8).collect();
    for size in [1000, 300 << 10, 3 << 20, 5 << 20, 300 << 10, 100] {
        bytes.resize(size, 7);
        bytes.shrink_to_fit();
        assert!(bytes[..100].iter().copied().eq(0..100) && bytes[100..].iter().all(|x| *x == 7), "{size}");
    }
    // An alignment of more than the stretch knows.
    let layout = Layout::from_size_align(1 << 20, 1 << 20).unwrap();
    // SAFETY: the layout is not empty, and the same both times.
    unsafe {
        let block = ALLOCATOR.alloc(layout);
        assert!(!block.is_null() && block.addr().is_multiple_of(1 << 20));
        ALLOCATOR.dealloc(block, layout);
    }

    let threads: Vec<_> = (0..8u8)
        .map(|thread| {
            std::thread::spawn(move || {
                for round in 0..200 {
                    let blocks: Vec<Vec<u8>> =
                        (0..4).map(|i| vec![thread; (100 << 10) * (1 + (round + i) % 7)]).collect();
                    assert!(blocks.iter().flatten().step_by(4096).all(|x| *x == thread));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());

    #[cfg(target_os = "linux")]
    {
        let stays = vec![5u8; SIZE];
        drop(vec![1u8; 2 * SIZE]);
        let before = resident().unwrap();
        give_back();
        let after = resident().unwrap();
        assert!(before >= after + SIZE, "{before} bytes before, {after} after");
        assert!(stays.iter().all(|x| *x == 5));
        assert!(vec![0u8; 2 * SIZE].iter().all(|x| *x == 0));
    }
}
