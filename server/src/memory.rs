//! What memory the system can give.

use std::path::Path;

/// Bytes that can be taken without swapping or being killed; `None` where the system does not say.
pub(crate) fn available_bytes() -> Option<u64> {
    let machine = parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = std::fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| group_bytes(&text, Path::new("/sys/fs/cgroup")));
    Some(group.map_or(machine, |group| machine.min(group)))
}

/// How the system gives huge pages: `always`, `madvise` or `never`; `None` where it does not say.
pub(crate) fn huge_pages() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    bracketed(&text)
}

/// The kernel marks the choice among all: `always [madvise] never`.
fn bracketed(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What the control groups of this process leave, as a container or a service has them; `None` without a limit.
///
/// `own` is `/proc/self/cgroup`, of which the line of version 2 counts; `root` is where the groups are.
fn group_bytes(own: &str, root: &Path) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut least = None;
    for group in root.join(path).ancestors() {
        if !group.starts_with(root) {
            break;
        }
        if let Some(left) = left_in(group) {
            least = Some(least.map_or(left, |least: u64| least.min(left)));
        }
    }
    least
}

/// A group's limit less what it holds and cannot give back: file pages that nobody has used lately do not count.
fn left_in(group: &Path) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let limit = number(&read("memory.max")?)?;
    let used = number(&read("memory.current")?)?;
    let stat = read("memory.stat").unwrap_or_default();
    let idle = stat
        .lines()
        .find_map(|line| number(line.strip_prefix("inactive_file ")?));
    let held = used.saturating_sub(idle.unwrap_or(0));
    Some(limit.saturating_sub(held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_in_brackets_is_read() {
        assert_eq!(
            bracketed("always [madvise] never\n"),
            Some("madvise".to_owned())
        );
        assert_eq!(bracketed("always"), None);
    }

    #[test]
    fn the_line_of_linux_is_read() {
        assert_eq!(
            parse_meminfo("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(parse_meminfo("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn the_narrowest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let outer = root.path().join("outer.slice");
        let inner = outer.join("inner.service");
        std::fs::create_dir_all(&inner).unwrap();
        let write = |group: &Path, name: &str, text: &str| {
            std::fs::write(group.join(name), text).unwrap();
        };
        let own = "1:cpu:/elsewhere\n0::/outer.slice/inner.service\n";
        assert_eq!(group_bytes(own, root.path()), None);
        write(&inner, "memory.max", "max\n");
        write(&inner, "memory.current", "300\n");
        assert_eq!(group_bytes(own, root.path()), None, "no limit");
        write(&outer, "memory.max", "1000\n");
        write(&outer, "memory.current", "700\n");
        write(&outer, "memory.stat", "anon 500\ninactive_file 150\n");
        assert_eq!(group_bytes(own, root.path()), Some(450));
        write(&inner, "memory.max", "310\n");
        assert_eq!(group_bytes(own, root.path()), Some(10));
        assert_eq!(group_bytes("1:memory:/old\n", root.path()), None);
    }
}
