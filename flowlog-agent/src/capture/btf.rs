//! A small reader of the running kernel's BTF: offsets of struct members, values of enums, arguments of
//! tracepoints. (aya reads BTF too, but shows none of this.)
//!
//! Format: Documentation/bpf/btf.rst of the kernel.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel shows its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const TYPE_BYTES: usize = 12;
/// Anonymous structs and unions nest a few levels deep in kernel structs.
const MAX_DEPTH: usize = 16;

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;
/// Kinds are below this.
const KINDS: usize = 20;

/// Why BTF cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("read {path}: {source}; the kernel needs CONFIG_DEBUG_INFO_BTF=y")]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The bytes are no BTF, or end early.
    #[error("not readable as BTF: {what} at byte {at}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// Where.
        at: usize,
    },
}

/// The types of one BTF blob.
pub struct KernelTypes {
    bytes: Vec<u8>,
    strings: usize,
    /// Byte offset of each type; type id 0 is void.
    starts: Vec<usize>,
    /// The same by kind: what is looked for by name is of a kind that a tenth of the types are.
    by_kind: [Vec<usize>; KINDS],
}

/// One type's fixed part.
#[derive(Clone, Copy)]
struct Header {
    at: usize,
    name: u32,
    kind: u32,
    members: usize,
    /// Member offsets hold the bit-field size in their top byte.
    bit_fields: bool,
    size_or_type: u32,
}

impl KernelTypes {
    /// Read and index a BTF file.
    ///
    /// # Errors
    /// It cannot be read, or is no BTF.
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let bytes = fs::read(path).map_err(|source| BtfError::Read { path: path.to_owned(), source })?;
        Self::parse(bytes)
    }

    /// Index BTF bytes.
    ///
    /// # Errors
    /// The bytes are no BTF, or end early.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let magic = u16_at(&bytes, 0)?;
        if magic != MAGIC {
            return Err(BtfError::Malformed { what: "magic 0xeb9f", at: 0 });
        }
        let header_bytes = offset_at(&bytes, 4)?;
        let types = header_bytes + offset_at(&bytes, 8)?;
        let types_end = types + offset_at(&bytes, 12)?;
        let strings = header_bytes + offset_at(&bytes, 16)?;
        let mut starts = vec![0];
        let mut by_kind = [const { Vec::new() }; KINDS];
        let mut at = types;
        while at < types_end {
            starts.push(at);
            let header = header_at(&bytes, at)?;
            if let Some(of_kind) = usize::try_from(header.kind).ok().and_then(|kind| by_kind.get_mut(kind)) {
                of_kind.push(at);
            }
            at += TYPE_BYTES + trailing_bytes(&header)?;
        }
        Ok(Self { bytes, strings, starts, by_kind })
    }

    /// Byte offset of a member, also inside anonymous structs and unions. `None` where the kernel has no such
    /// struct or member, or it is a bit field.
    pub fn find_member(&self, of: &str, member: &str) -> Option<u32> {
        let bits = self.named(KIND_STRUCT, of).find_map(|header| self.member_bits(header, member, 0))?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Names and values of an enum; empty where the kernel has none of that name.
    pub fn find_enum(&self, name: &str) -> Vec<(String, u64)> {
        let Some(header) =
            self.named(KIND_ENUM, name).next().or_else(|| self.named(KIND_ENUM64, name).next())
        else {
            return Vec::new();
        };
        (0..header.members).filter_map(|index| self.enum_value(header, index)).collect()
    }

    /// Whether the kernel has a helper for BPF programs, by its name in `enum bpf_func_id`.
    pub fn has_helper(&self, name: &str) -> bool {
        self.has_value("bpf_func_id", name)
    }

    /// Whether the kernel has what events travel in (5.8).
    pub fn has_ring_buffer(&self) -> bool {
        self.has_value("bpf_map_type", "BPF_MAP_TYPE_RINGBUF")
    }

    /// Whether the kernel gives this reason for packets that it drops, by its whole name.
    pub fn has_drop_reason(&self, name: &str) -> bool {
        self.has_value("skb_drop_reason", name)
    }

    fn has_value(&self, of: &str, name: &str) -> bool {
        self.find_enum(of).iter().any(|(found, _)| found == name)
    }

    /// How many arguments a tracepoint hands to a BTF program; `None` where the kernel has no such tracepoint.
    pub fn find_tracepoint(&self, name: &str) -> Option<usize> {
        let typedef = self.named(KIND_TYPEDEF, &format!("btf_trace_{name}")).next()?;
        let pointer = self.header(typedef.size_or_type)?;
        let prototype = self.header(pointer.size_or_type)?;
        // The first parameter is the tracepoint's own `void *`.
        (prototype.kind == KIND_FUNC_PROTO).then(|| prototype.members.saturating_sub(1))
    }

    /// Whether the kernel has a function of this name that is not inlined everywhere.
    pub fn has_function(&self, name: &str) -> bool {
        self.named(KIND_FUNC, name).next().is_some()
    }

    fn named<'a>(&'a self, kind: u32, name: &'a str) -> impl Iterator<Item = Header> + 'a {
        let of_kind = usize::try_from(kind).ok().and_then(|kind| self.by_kind.get(kind));
        of_kind
            .into_iter()
            .flatten()
            .filter_map(|at| header_at(&self.bytes, *at).ok())
            .filter(move |header| self.string_is(header.name, name))
    }

    fn member_bits(&self, header: Header, wanted: &str, depth: usize) -> Option<u32> {
        if depth > MAX_DEPTH {
            return None;
        }
        (0..header.members).find_map(|index| {
            let at = header.at + TYPE_BYTES + index * TYPE_BYTES;
            let name = u32_at(&self.bytes, at).ok()?;
            let bits = u32_at(&self.bytes, at + 8).ok()?;
            let bits = if header.bit_fields { bits & 0x00ff_ffff } else { bits };
            if self.string_is(name, wanted) {
                return Some(bits);
            }
            if !self.string_is(name, "") {
                return None;
            }
            let inner = self.composite(u32_at(&self.bytes, at + 4).ok()?)?;
            Some(bits + self.member_bits(inner, wanted, depth + 1)?)
        })
    }

    /// The struct or union behind modifiers.
    fn composite(&self, id: u32) -> Option<Header> {
        let mut header = self.header(id)?;
        for _ in 0..MAX_DEPTH {
            match header.kind {
                KIND_STRUCT | KIND_UNION => return Some(header),
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    header = self.header(header.size_or_type)?;
                }
                _ => return None,
            }
        }
        None
    }

    fn enum_value(&self, header: Header, index: usize) -> Option<(String, u64)> {
        let wide = header.kind == KIND_ENUM64;
        let at = header.at + TYPE_BYTES + index * if wide { 12 } else { 8 };
        let name = self.string(u32_at(&self.bytes, at).ok()?)?;
        let low = u64::from(u32_at(&self.bytes, at + 4).ok()?);
        let high = if wide { u64::from(u32_at(&self.bytes, at + 8).ok()?) } else { 0 };
        Some((name.to_owned(), (high << 32) | low))
    }

    fn header(&self, id: u32) -> Option<Header> {
        let at = self.starts.get(usize::try_from(id).ok()?)?;
        (*at != 0).then(|| header_at(&self.bytes, *at).ok())?
    }

    fn string(&self, offset: u32) -> Option<&str> {
        let tail = self.bytes.get(self.strings + usize::try_from(offset).ok()?..)?;
        let end = tail.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&tail[..end]).ok()
    }

    fn string_is(&self, offset: u32, wanted: &str) -> bool {
        let Some(start) = usize::try_from(offset).ok().map(|offset| self.strings + offset) else {
            return false;
        };
        let Some(found) = self.bytes.get(start..start + wanted.len() + 1) else { return false };
        found[..wanted.len()] == *wanted.as_bytes() && found[wanted.len()] == 0
    }
}

fn header_at(bytes: &[u8], at: usize) -> Result<Header, BtfError> {
    let info = u32_at(bytes, at + 4)?;
    let members = usize::from(u16_at(bytes, at + 4)?);
    Ok(Header {
        at,
        name: u32_at(bytes, at)?,
        kind: (info >> 24) & 0x1f,
        members,
        bit_fields: info >> 31 == 1,
        size_or_type: u32_at(bytes, at + 8)?,
    })
}

fn trailing_bytes(header: &Header) -> Result<usize, BtfError> {
    Ok(match header.kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => header.members * 12,
        KIND_ENUM | KIND_FUNC_PROTO => header.members * 8,
        KIND_PTR..=KIND_TYPE_TAG => 0,
        _ => return Err(BtfError::Malformed { what: "a known kind of type", at: header.at }),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, BtfError> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

fn offset_at(bytes: &[u8], at: usize) -> Result<usize, BtfError> {
    usize::try_from(u32_at(bytes, at)?).map_err(|_| BtfError::Malformed { what: "an offset", at })
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BtfError> {
    bytes
        .get(at..at + N)
        .and_then(|slice| slice.try_into().ok())
        .ok_or(BtfError::Malformed { what: "more bytes", at })
}

#[cfg(test)]
mod tests {
    use super::{BtfError, KernelTypes, VMLINUX};
    use std::path::Path;

    fn running_kernel() -> KernelTypes {
        KernelTypes::read(Path::new(VMLINUX)).unwrap()
    }

    #[test]
    fn the_running_kernel_shows_what_the_hooks_need() {
        let types = running_kernel();
        assert_eq!(types.find_member("sock_common", "skc_daddr"), Some(0));
        assert_eq!(types.find_member("sock_common", "skc_rcv_saddr"), Some(4));
        assert_eq!(types.find_member("sk_buff", "no_such_member"), None);
        assert_eq!(types.find_tracepoint("inet_sock_set_state"), Some(3));
        assert_eq!(types.find_tracepoint("no_such_tracepoint"), None);
        assert!(types.has_function("inet_csk_accept") && !types.has_function("no_such_function"));
        assert!(types.has_function("bpf_iter_task_file"));
        let reasons = types.find_enum("skb_drop_reason");
        assert!(
            reasons.iter().any(|(name, value)| name == "SKB_DROP_REASON_NO_SOCKET" && *value > 2),
            "{reasons:?}"
        );
    }

    #[test]
    fn members_of_anonymous_unions_are_found() {
        assert!(running_kernel().find_member("sk_buff", "sk").is_some_and(|offset| offset > 0));
    }

    #[test]
    fn what_is_no_btf_is_an_error() {
        for bytes in [Vec::new(), vec![0x9f], vec![0; 64], {
            let mut torn = std::fs::read(VMLINUX).unwrap();
            torn.truncate(10_000);
            torn
        }] {
            assert!(matches!(KernelTypes::parse(bytes), Err(BtfError::Malformed { .. })));
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = KernelTypes::read(Path::new("/no/such/btf")).err().unwrap();
        assert!(error.to_string().contains("/no/such/btf"), "{error}");
    }
}
