//! Whether this process may use AMX: the processor has it, and the system keeps its registers.
//!
//! The 8 KiB of tiles are not part of a process's state until it asks for them (Linux, `Documentation/arch/x86/xstate.rst`).
//! A process asks once; all its threads may use them from then on.

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// CPUID leaf of extended features; its subleaf 0 says in EDX what there is of AMX.
const EXTENDED_FEATURES: u32 = 7;
const FEATURES: [(&str, u32); 3] = [("amx-tile", 24), ("amx-bf16", 22), ("amx-int8", 25)];

/// What the processor or the system lacks.
pub(super) fn missing() -> Vec<&'static str> {
    static MISSING: OnceLock<Vec<&'static str>> = OnceLock::new();
    MISSING.get_or_init(find_missing).clone()
}

fn find_missing() -> Vec<&'static str> {
    let has_leaf = __cpuid_count(0, 0).eax >= EXTENDED_FEATURES;
    let bits = if has_leaf {
        __cpuid_count(EXTENDED_FEATURES, 0).edx
    } else {
        0
    };
    let mut missing: Vec<_> = FEATURES
        .into_iter()
        .filter(|(_, bit)| bits & (1 << bit) == 0)
        .map(|(name, _)| name)
        .collect();
    if missing.is_empty() && !is_permitted() {
        missing.push("the system's permission for amx");
    }
    missing
}

/// Asks the system for the tiles.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "a system call")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: this request takes a number and touches no memory of the process.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    outcome == 0
}

/// Other systems are not known to keep the tiles.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}
