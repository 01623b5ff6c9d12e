//! The CPU quota of a container, from the files of its control group (version 1 or 2).

use std::fs;
use std::path::{Path, PathBuf};

/// CPUs that may be used up, on average; nothing when there is no limit. `root` is `/`, except in tests.
pub(super) fn quota(root: &Path) -> Option<f64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let limits = groups.lines().filter_map(Group::parse).filter_map(|group| {
        let mount = mounts.lines().filter_map(Mount::parse).find(|mount| mount.is_of(&group))?;
        // A pod's group may have a lower limit than its container's.
        group.folders(&mount).iter().filter_map(|folder| group.limit(&inside(root, folder))).reduce(f64::min)
    });
    limits.reduce(f64::min)
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[derive(Clone, Copy, PartialEq)]
enum Version {
    One,
    Two,
}

/// A line of `/proc/self/cgroup`: `4:cpu,cpuacct:/kubepods/x`, or `0::/kubepods/x` in version 2.
struct Group<'a> {
    version: Version,
    path: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if id == "0" && controllers.is_empty() {
            return Some(Self { version: Version::Two, path });
        }
        controllers.split(',').any(|name| name == "cpu").then_some(Self { version: Version::One, path })
    }

    /// The group's folder and those above it. Where the whole tree is not mounted but our part of it, the path begins
    /// with the part that is not seen.
    fn folders(&self, mount: &Mount) -> Vec<PathBuf> {
        let rest = Path::new(self.path).strip_prefix(mount.root).unwrap_or(Path::new(""));
        // From inside a namespace, groups outside of it are `..`.
        let seen = rest.components().all(|piece| matches!(piece, std::path::Component::Normal(_)));
        let folder = Path::new(mount.point).join(if seen { rest } else { Path::new("") });
        let above = folder.ancestors().take_while(|folder| folder.starts_with(mount.point));
        above.map(Path::to_owned).collect()
    }

    fn limit(&self, folder: &Path) -> Option<f64> {
        let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
        let (quota, period) = match self.version {
            Version::Two => {
                let text = read("cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.to_owned(), period.to_owned())
            }
            Version::One => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
        };
        // No limit is `max` or -1.
        let quota: f64 = quota.trim().parse().ok().filter(|quota| *quota > 0.0)?;
        let period: f64 = period.trim().parse().ok().filter(|period| *period > 0.0)?;
        Some(quota / period)
    }
}

/// A line of `/proc/self/mountinfo`: `31 23 0:28 ROOT POINT rw - TYPE SOURCE OPTIONS`.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (place, file_system) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let mut file_system = file_system.split(' ');
        Some(Self {
            root: place.next()?,
            point: place.next()?,
            kind: file_system.next()?,
            options: file_system.nth(1)?,
        })
    }

    fn is_of(&self, group: &Group) -> bool {
        match group.version {
            Version::Two => self.kind == "cgroup2",
            Version::One => self.kind == "cgroup" && self.options.split(',').any(|name| name == "cpu"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
    const V1: &str = "30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 25 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";

    fn machine(groups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<f64> {
        let root = tempfile::tempdir().unwrap();
        let all = [("proc/self/cgroup", groups), ("proc/self/mountinfo", mounts)];
        for (path, text) in all.iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        quota(root.path())
    }

    #[test]
    fn version_2() {
        // A container with a namespace of its own sees its group as the root.
        assert_eq!(machine("0::/\n", V2, &[("sys/fs/cgroup/cpu.max", "150000 100000\n")]), Some(1.5));
        assert_eq!(machine("0::/\n", V2, &[("sys/fs/cgroup/cpu.max", "max 100000\n")]), None);
        // Without one, it sees the whole path; the lowest limit on it counts.
        let files = [
            ("sys/fs/cgroup/kubepods/pod1/cpu.max", "300000 100000\n"),
            ("sys/fs/cgroup/kubepods/pod1/ctr/cpu.max", "400000 100000\n"),
            ("sys/fs/cgroup/kubepods/cpu.max", "max 100000\n"),
        ];
        assert_eq!(machine("0::/kubepods/pod1/ctr\n", V2, &files), Some(3.0));
        assert_eq!(machine("0::/../other\n", V2, &[("sys/fs/cgroup/cpu.max", "50000 100000")]), Some(0.5));
    }

    #[test]
    fn version_1() {
        let folder = "sys/fs/cgroup/cpu,cpuacct";
        let files = |at: &str, quota: &'static str| {
            [
                (format!("{folder}{at}/cpu.cfs_quota_us"), quota),
                (format!("{folder}{at}/cpu.cfs_period_us"), "50000\n"),
            ]
        };
        let run = |groups: &str, mounts: &str, files: [(String, &str); 2]| {
            let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            machine(groups, mounts, &files)
        };
        let groups = "5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n0::/\n";
        assert_eq!(run(groups, V1, files("/docker/1", "125000\n")), Some(2.5));
        assert_eq!(run(groups, V1, files("/docker/1", "-1\n")), None);
        // Without a namespace only our part of the tree is mounted, as the root of what is seen.
        let mounts = V1.replace("0:27 / ", "0:27 /docker/1 ");
        assert_eq!(run(groups, &mounts, files("", "20000\n")), Some(0.4));
        // The part that is mounted may be another one than the path says.
        assert_eq!(run("4:cpu:/elsewhere\n", &mounts, files("", "20000\n")), Some(0.4));
    }

    #[test]
    fn both_at_once_and_neither() {
        let mounts = format!("{V1}\n{}", V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"));
        let files = [
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000"),
        ];
        assert_eq!(machine("4:cpu,cpuacct:/\n0::/\n", &mounts, &files), Some(2.0));
        assert_eq!(machine("", "", &[]), None);
        for nonsense in ["::::", "0::", "a\nb:c", "0::/ - x"] {
            assert_eq!(machine(nonsense, nonsense, &[]), None, "{nonsense}");
        }
        let broken = |text| machine("0::/\n", V2, &[("sys/fs/cgroup/cpu.max", text)]);
        for text in ["", "x y", "100000", "100000 0", "-5 100000", "nan 1"] {
            assert_eq!(broken(text), None, "{text}");
        }
    }
}
