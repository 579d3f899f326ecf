//! Memory that is shared with the kernel: the pages of a ring, and of an array that may be mapped.

use nix::libc;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Bytes of a page.
pub(super) fn page_bytes() -> usize {
    // SAFETY: a call without pointers.
    #[expect(unsafe_code, reason = "the C library's own way to ask")]
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4_096)
}

/// A mapping of a map's pages; never unmapped, since marks are set in it until the process ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory lives as long as the process, and all that is handed out of it are atomics and bytes that nobody
// writes meanwhile.
#[expect(unsafe_code, reason = "a pointer is not sent between threads by itself")]
unsafe impl Send for Pages {}

impl Pages {
    /// Map `bytes` of a map from `offset` on.
    pub(super) fn map(fd: BorrowedFd<'_>, offset: usize, bytes: usize, write: bool) -> io::Result<Self> {
        let access = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: no address is asked for, so nothing that is mapped already is touched.
        #[expect(unsafe_code, reason = "mapping memory")]
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, fd.as_raw_fd(), offset)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, bytes })
    }

    /// To be looked at where `check` has passed.
    fn pointer(&self, offset: usize) -> *const u8 {
        self.start.as_ptr().wrapping_add(offset)
    }

    fn check(&self, offset: usize, bytes: usize, align: usize) {
        let end = offset.checked_add(bytes);
        assert!(
            end.is_some_and(|end| end <= self.bytes) && offset.is_multiple_of(align),
            "within the mapping"
        );
    }

    /// A number of 64 bits.
    pub(super) fn number(&self, offset: usize) -> &'static AtomicU64 {
        &self.numbers(offset, 1)[0]
    }

    /// Numbers of 64 bits.
    pub(super) fn numbers(&self, offset: usize, count: usize) -> &'static [AtomicU64] {
        self.check(offset, count * 8, 8);
        // SAFETY: inside the mapping, which is page-aligned and never unmapped; atomics may be shared with the kernel.
        #[expect(unsafe_code, reason = "a view of mapped memory")]
        unsafe {
            slice::from_raw_parts(self.pointer(offset).cast(), count)
        }
    }

    /// A number of 32 bits.
    pub(super) fn short(&self, offset: usize) -> &'static AtomicU32 {
        self.check(offset, 4, 4);
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "a view of mapped memory")]
        unsafe {
            &*self.pointer(offset).cast()
        }
    }

    /// Marks of a byte each.
    pub(super) fn marks(&self, offset: usize, count: usize) -> &'static [AtomicU8] {
        self.check(offset, count, 1);
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "a view of mapped memory")]
        unsafe {
            slice::from_raw_parts(self.pointer(offset).cast(), count)
        }
    }

    /// Bytes that nobody writes while the slice is there: of a record that the kernel has committed, and does not write over
    /// before the consumer's position has passed it.
    pub(super) fn bytes(&self, offset: usize, count: usize) -> &[u8] {
        self.check(offset, count, 1);
        // SAFETY: inside the mapping; that nobody writes is what callers keep to.
        #[expect(unsafe_code, reason = "a view of mapped memory")]
        unsafe {
            slice::from_raw_parts(self.pointer(offset), count)
        }
    }
}
