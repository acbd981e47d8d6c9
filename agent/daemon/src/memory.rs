//! What an idle agent gives back of the robot's memory.

use std::{fs, ops::Range, path::Path};
use surefoot_base::file;

/// What the kernel says of this process' mappings has at most so many bytes: some hundreds of lines.
const MAX_SMAPS_BYTES: u64 = 512 << 10;

/// Gives back what is not needed until the next poll.
pub(crate) fn rest() {
    trim();
    leave_code();
}

/// Gives the kernel what an allocator keeps of freed memory: after an update several times what an
/// idle agent uses, in pieces between what is still used (`malloc_trim(3)`).
#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it takes a number, may be called at any time from any thread, and locks what it needs.
    #[allow(
        unsafe_code,
        reason = "there is no safe way to ask the C library for it"
    )]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
const fn trim() {}

/// Leaves the code and the constants of the program that have been used so far. The kernel maps 64 KiB
/// around each page that is used, and takes what is mapped for what is in use: nearly the whole program, of
/// which an idle agent runs a small part. What is left stays in the page cache while nobody else wants the
/// room, and is mapped again by its first use.
fn leave_code() {
    let exe = fs::read_link("/proc/self/exe").unwrap_or_default();
    let smaps = file::read_text(Path::new("/proc/self/smaps"), MAX_SMAPS_BYTES).unwrap_or_default();
    for range in unchanged(&smaps, &exe) {
        // SAFETY: these pages cannot be written and are those of a file that outlasts this process: the
        // kernel brings the same bytes back when they are next used (madvise(2), MADV_DONTNEED).
        #[allow(unsafe_code, reason = "there is no safe way to ask the kernel for it")]
        unsafe {
            let start = std::ptr::with_exposed_provenance_mut(range.start);
            nix::libc::madvise(start, range.len(), nix::libc::MADV_DONTNEED);
        }
    }
}

/// Where the program is mapped from its file and is as it is there (`proc_pid_smaps(5)`): nobody can
/// write it, and no page of it was written before, as the dynamic linker does with some, or a debugger. A
/// written page may lie in swap, too: leaving it would lose what was written.
fn unchanged(smaps: &str, exe: &Path) -> Vec<Range<usize>> {
    let (mut found, mut mapping, mut clean) = (Vec::new(), None, false);
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("Anonymous:"), Some(written)) => clean = written == "0",
            (Some("Swap:"), Some("0")) if clean => found.extend(mapping.take()),
            (Some(word), _) if word.ends_with(':') => {}
            (Some(range), Some(access)) => {
                let ours = words.nth(3).is_some_and(|path| Path::new(path) == exe);
                let kept = ours && matches!(access, "r--p" | "r-xp");
                mapping = addresses(range).filter(|_| kept);
                clean = false;
            }
            _ => {}
        }
    }
    found
}

fn addresses(range: &str) -> Option<Range<usize>> {
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_it_is_in_the_programs_file_is_left() {
        let smaps = "\
1000-2000 r--p 00000000 08:01 42                         /nix/store/x/bin/surefootd
Size:                  4 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me sd
2000-5000 r-xp 00001000 08:01 42                         /nix/store/x/bin/surefootd
Anonymous:             0 kB
Swap:                  0 kB
5000-6000 r--p 00004000 08:01 42                         /nix/store/x/bin/surefootd
Anonymous:             4 kB
Swap:                  0 kB
b000-c000 r--p 00005000 08:01 42                         /nix/store/x/bin/surefootd
Anonymous:             0 kB
Swap:                  4 kB
6000-7000 rw-p 00005000 08:01 42                         /nix/store/x/bin/surefootd
Anonymous:             0 kB
Swap:                  0 kB
7000-8000 rw-p 00000000 00:00 0                          [heap]
Anonymous:             0 kB
Swap:                  0 kB
8000-9000 r-xp 00028000 08:01 7                          /usr/lib/libc.so.6
Anonymous:             0 kB
Swap:                  0 kB
a000-9000 r-xp 00028000 08:01 42                         /nix/store/x/bin/surefootd
Anonymous:             0 kB
Swap:                  0 kB
rust r-xp 0 0 0 /nix/store/x/bin/surefootd
Anonymous:             0 kB
Swap:                  0 kB
";
        let found = unchanged(smaps, Path::new("/nix/store/x/bin/surefootd"));
        let found: Vec<_> = found.iter().map(|at| (at.start, at.end)).collect();
        assert_eq!(found, [(0x1000, 0x2000), (0x2000, 0x5000)]);
        assert!(unchanged(smaps, Path::new("")).is_empty());
    }

    #[test]
    fn what_is_left_comes_back_when_it_is_used() {
        let exe = fs::read_link("/proc/self/exe").unwrap();
        let found = || unchanged(&fs::read_to_string("/proc/self/smaps").unwrap(), &exe);
        let before = found();
        assert!(!before.is_empty());
        for _ in 0..3 {
            rest();
            assert_eq!(found(), before);
        }
    }
}
