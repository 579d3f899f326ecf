//! The archive that a kernel unpacks into its first root: cpio in the "newc" format, uncompressed, since unpacking
//! in software emulation costs more than reading.
//!
//! Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const DEVICE: u32 = 0o020_600;

/// An archive as it grows.
#[derive(Default)]
pub(super) struct Cpio {
    bytes: Vec<u8>,
    made: BTreeSet<String>,
    count: u32,
}

impl Cpio {
    /// An empty folder, and those above it. Where this machine's folder is a link (`/bin`), so is the image's.
    pub(super) fn folder(&mut self, name: &str) -> Result<()> {
        let name = name.trim_matches('/');
        if name.is_empty() || self.made.contains(name) {
            return Ok(());
        }
        self.folder_of(name)?;
        match fs::read_link(Path::new("/").join(name)) {
            Ok(to) if to.is_relative() => {
                self.folder(&to.to_string_lossy())?;
                self.entry(name, LINK, (0, 0), to.to_string_lossy().as_bytes())
            }
            _ => self.entry(name, FOLDER, (0, 0), &[]),
        }
    }

    /// A file.
    pub(super) fn file(&mut self, name: &str, bytes: &[u8], is_program: bool) -> Result<()> {
        let name = name.trim_matches('/');
        self.folder_of(name)?;
        self.entry(name, if is_program { PROGRAM } else { FILE }, (0, 0), bytes)
    }

    /// A file of this machine, as a program.
    pub(super) fn copy(&mut self, name: &str, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.file(name, &bytes, true)
    }

    /// A character device.
    pub(super) fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        self.folder_of(name)?;
        self.entry(name, DEVICE, (major, minor), &[])
    }

    /// All of it.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.count = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn folder_of(&mut self, name: &str) -> Result<()> {
        match name.rsplit_once('/') {
            Some((above, _)) => self.folder(above),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), bytes: &[u8]) -> Result<()> {
        if !self.made.insert(name.to_owned()) {
            return Ok(());
        }
        let size = u32::try_from(bytes.len()).with_context(|| format!("{name} is too large"))?;
        let name_bytes = u32::try_from(name.len() + 1).context("a name is too long")?;
        self.count += 1;
        let fields = [self.count, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_bytes, 0];
        let mut header = String::from("070701");
        for field in fields {
            // Writing to a String cannot fail.
            let _ = write!(header, "{field:08x}");
        }
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(bytes);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Cpio;

    #[test]
    fn an_archive_is_as_the_kernel_reads_it() {
        let mut cpio = Cpio::default();
        cpio.file("a/b", b"xyz", false).unwrap();
        let bytes = cpio.finish().unwrap();
        let head = "070701000000010000\
                    41ed000000000000000000000001000000000000000000000000000000000000000000000000000000020000\
                    0000a\0";
        assert!(bytes.starts_with(head.as_bytes()), "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("a/b\0") && text.contains("xyz") && text.contains("TRAILER!!!\0"), "{text}");
    }
}
