//! What memory the system can give.

/// Bytes that can be taken without swapping; `None` where the system does not say.
pub(crate) fn available_bytes() -> Option<u64> {
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
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
}
