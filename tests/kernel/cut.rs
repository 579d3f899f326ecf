//! Programs that swallow every IP packet, as eBPF network plugins have them: at a link, by TC or XDP, or at a cgroup.
//! What neighbours tell each other in IPv4 passes; in IPv6 they must know each other before.

use aya::programs::tc::{SchedClassifier, TcAttachType, qdisc_add_clsact};
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use flowlog_tests::netns::Netns;
use std::fs::File;
use std::path::Path;

/// Cut the link by TC_ACT_SHOT, for as long as what is returned lives.
pub(crate) fn cut(netns: &Netns, link: &str, side: TcAttachType) -> Ebpf {
    netns
        .inside(|| {
            let mut ebpf = EbpfLoader::new().load(&object("classifier", &classifier()))?;
            let program: &mut SchedClassifier = ebpf.program_mut("shoot").unwrap().try_into()?;
            program.load()?;
            // The kernel answers "exists" where there is one already; with links of its own it needs none.
            let _ = qdisc_add_clsact(link);
            program.attach(link, side)?;
            Ok(ebpf)
        })
        .unwrap()
}

/// What comes in by the link is dropped by XDP, generic mode, likewise.
pub(crate) fn cut_by_xdp(netns: &Netns, link: &str) -> Ebpf {
    netns
        .inside(|| {
            let mut ebpf = EbpfLoader::new().load(&object("xdp", &xdp()))?;
            let program: &mut Xdp = ebpf.program_mut("shoot").unwrap().try_into()?;
            program.load()?;
            program.attach(link, XdpMode::Skb)?;
            Ok(ebpf)
        })
        .unwrap()
}

/// Whatever sockets of the cgroup send is refused, likewise.
pub(crate) fn cut_off_sockets(cgroup: &Path) -> Ebpf {
    let mut ebpf = EbpfLoader::new().load(&object("cgroup_skb/egress", &refuse())).unwrap();
    let program: &mut CgroupSkb = ebpf.program_mut("shoot").unwrap().try_into().unwrap();
    program.load().unwrap();
    // A link takes no flags, and sits beside those of others.
    let cgroup = File::open(cgroup).unwrap();
    program.attach(cgroup, CgroupSkbAttachType::Egress, CgroupAttachMode::Single).unwrap();
    ebpf
}

/// Destination and source register in one byte, whose halves follow the machine's byte order.
pub(crate) const fn registers(destination: u8, source: u8) -> u8 {
    if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source }
}

pub(crate) fn instruction(code: u8, registers: u8, offset: i16, immediate: u32) -> Vec<u8> {
    [&[code, registers][..], &offset.to_ne_bytes(), &immediate.to_ne_bytes()].concat()
}

/// An ethertype as it is loaded from a packet.
fn ethertype(value: u16) -> u32 {
    value.to_be().into()
}

/// `protocol` of the packet is IP or IPv6 → 2 (TC_ACT_SHOT), else 0 (TC_ACT_OK).
fn classifier() -> Vec<u8> {
    [
        instruction(0x61, registers(2, 1), 16, 0), // r2 = skb->protocol
        instruction(0xb7, 0, 0, 0),                // r0 = 0
        instruction(0x15, registers(2, 0), 2, ethertype(0x0800)), // if r2 == IP goto shoot
        instruction(0x15, registers(2, 0), 1, ethertype(0x86dd)), // if r2 == IPv6 goto shoot
        instruction(0x95, 0, 0, 0),                // exit
        instruction(0xb7, 0, 0, 2),                // shoot: r0 = 2
        instruction(0x95, 0, 0, 0),                // exit
    ]
    .concat()
}

/// The same by the frame's own bytes → 1 (XDP_DROP), else 2 (XDP_PASS).
fn xdp() -> Vec<u8> {
    [
        instruction(0x61, registers(2, 1), 0, 0),                 // r2 = data
        instruction(0x61, registers(3, 1), 4, 0),                 // r3 = data_end
        instruction(0xb7, 0, 0, 2),                               // r0 = 2
        instruction(0xbf, registers(4, 2), 0, 0),                 // r4 = r2
        instruction(0x07, registers(4, 0), 0, 14),                // r4 += 14
        instruction(0x2d, registers(4, 3), 3, 0),                 // if r4 > r3 exit
        instruction(0x69, registers(5, 2), 12, 0),                // r5 = ethertype
        instruction(0x15, registers(5, 0), 2, ethertype(0x0800)), // if r5 == IP goto shoot
        instruction(0x15, registers(5, 0), 1, ethertype(0x86dd)), // if r5 == IPv6 goto shoot
        instruction(0x95, 0, 0, 0),                               // exit
        instruction(0xb7, 0, 0, 1),                               // shoot: r0 = 1
        instruction(0x95, 0, 0, 0),                               // exit
    ]
    .concat()
}

/// 0, which a cgroup program refuses by.
fn refuse() -> Vec<u8> {
    [instruction(0xb7, 0, 0, 0), instruction(0x95, 0, 0, 0)].concat()
}

const HEADER_BYTES: usize = 64;

/// A row of the section table, with the section's bytes.
struct Section<'a> {
    name: u32,
    kind: u32,
    flags: u64,
    bytes: &'a [u8],
    link: u32,
    info: u32,
    entry: u64,
}

/// The smallest ELF object that holds it (elf(5), little- or big-endian as this machine).
pub(crate) fn object(kind: &str, program: &[u8]) -> Vec<u8> {
    let names = ["shoot", kind, "license", ".symtab", ".strtab"];
    let strings: Vec<u8> =
        names.iter().flat_map(|name| [b"\0", name.as_bytes()].concat()).chain([0]).collect();
    // Where each name begins, after the empty one.
    let mut next = 1;
    let [symbol_name, kind, license, symtab, strtab] = names.map(|name| {
        let at = next;
        next += u32::try_from(name.len()).unwrap() + 1;
        at
    });
    // One symbol after the empty one: a global function at the start of section 1.
    let symbol = [
        &symbol_name.to_ne_bytes()[..],
        &[0x12, 0],
        &1_u16.to_ne_bytes(),
        &0_u64.to_ne_bytes(),
        &u64::try_from(program.len()).unwrap().to_ne_bytes(),
    ]
    .concat();
    let symbols = [vec![0; symbol.len()], symbol].concat();
    let section =
        |name, kind, flags, bytes, link, info, entry| Section { name, kind, flags, bytes, link, info, entry };
    let sections = [
        section(kind, 1, 6, program, 0, 0, 0),
        section(license, 1, 2, b"GPL\0", 0, 0, 0),
        section(symtab, 2, 0, &symbols, 4, 1, 24),
        section(strtab, 3, 0, &strings, 0, 0, 0),
    ];
    let (mut body, mut table) = (Vec::new(), vec![0; HEADER_BYTES]);
    for Section { name, kind, flags, bytes, link, info, entry } in sections {
        body.resize(body.len().next_multiple_of(8), 0);
        let offset = u64::try_from(HEADER_BYTES + body.len()).unwrap();
        let length = u64::try_from(bytes.len()).unwrap();
        table.extend([name.to_ne_bytes(), kind.to_ne_bytes()].concat());
        table.extend([flags, 0, offset, length].map(u64::to_ne_bytes).concat());
        table.extend([link.to_ne_bytes(), info.to_ne_bytes()].concat());
        table.extend([8, entry].map(u64::to_ne_bytes).concat());
        body.extend(bytes);
    }
    body.resize(body.len().next_multiple_of(8), 0);
    let table_at = u64::try_from(HEADER_BYTES + body.len()).unwrap();
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    let header = [
        &[0x7f, b'E', b'L', b'F', 2, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &1_u16.to_ne_bytes(),   // relocatable
        &247_u16.to_ne_bytes(), // EM_BPF
        &1_u32.to_ne_bytes(),
        &[0; 16],
        &table_at.to_ne_bytes(),
        &0_u32.to_ne_bytes(),
        &[64_u16, 0, 0, 64, 5, 4].map(u16::to_ne_bytes).concat(),
    ]
    .concat();
    [header, body, table].concat()
}
