//! Where the kernel keeps a system call's number and arguments while it runs, and which calls take a datagram: what the
//! kernel half needs to find a DNS answer. Both differ by architecture.

use super::btf::KernelTypes;
use nix::libc;

/// Offsets in `struct pt_regs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    /// The call's number.
    pub(super) number: u32,
    /// Its second argument.
    pub(super) second: u32,
    /// Its third argument.
    pub(super) third: u32,
}

/// `read`, `readv`, `recvfrom`, `recvmsg`, by the names of the kernel half's globals.
pub(super) const CALLS: [(&str, libc::c_long); 4] = [
    ("CALL_READ", libc::SYS_read),
    ("CALL_READV", libc::SYS_readv),
    ("CALL_RECVFROM", libc::SYS_recvfrom),
    ("CALL_RECVMSG", libc::SYS_recvmsg),
];

/// `None` on architectures that flowlog does not know.
pub(super) fn find(types: &KernelTypes) -> Option<Registers> {
    let member = |name| types.find_member("pt_regs", name);
    if cfg!(target_arch = "x86_64") {
        Some(Registers { number: member("orig_ax")?, second: member("si")?, third: member("dx")? })
    } else if cfg!(target_arch = "aarch64") {
        let first = member("regs")?;
        Some(Registers { number: member("syscallno")?, second: first + 8, third: first + 16 })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{CALLS, find};
    use crate::capture::btf::{KernelTypes, VMLINUX};
    use std::path::Path;

    #[test]
    fn the_running_kernel_keeps_them_apart() {
        let found = find(&KernelTypes::read(Path::new(VMLINUX)).unwrap()).unwrap();
        assert!(found.number != found.second && found.second != found.third, "{found:?}");
        let mut numbers = CALLS.map(|(_, number)| number);
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    }
}
