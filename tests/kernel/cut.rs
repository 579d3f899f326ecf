//! A link that swallows every IP packet by a TC program that answers TC_ACT_SHOT, as eBPF network plugins do.
//! What neighbours tell each other in IPv4 passes; in IPv6 they must know each other before.

use aya::programs::tc::{SchedClassifier, TcAttachType, qdisc_add_clsact};
use aya::{Ebpf, EbpfLoader};
use flowlog_tests::netns::Netns;

/// Cut the link for as long as what is returned lives.
pub(crate) fn cut(netns: &Netns, link: &str, side: TcAttachType) -> Ebpf {
    netns
        .inside(|| {
            let mut ebpf = EbpfLoader::new().load(&object())?;
            let program: &mut SchedClassifier = ebpf.program_mut("shoot").unwrap().try_into()?;
            program.load()?;
            // The kernel answers "exists" where there is one already; with links of its own it needs none.
            let _ = qdisc_add_clsact(link);
            program.attach(link, side)?;
            Ok(ebpf)
        })
        .unwrap()
}

/// Destination and source register in one byte, whose halves follow the machine's byte order.
const R2_FROM_R1: u8 = if cfg!(target_endian = "little") { 0x12 } else { 0x21 };
const R2: u8 = if cfg!(target_endian = "little") { 0x02 } else { 0x20 };

/// Seven instructions: `protocol` of the packet is IP or IPv6 → 2 (TC_ACT_SHOT), else 0 (TC_ACT_OK).
fn program() -> Vec<u8> {
    let ethertype = |value: u16| u32::from(value.to_be()).to_ne_bytes();
    let instruction = |code: u8, registers: u8, offset: i16, immediate: [u8; 4]| {
        [&[code, registers][..], &offset.to_ne_bytes(), &immediate].concat()
    };
    [
        instruction(0x61, R2_FROM_R1, 16, [0; 4]),    // r2 = skb->protocol
        instruction(0xb7, 0, 0, 0_u32.to_ne_bytes()), // r0 = 0
        instruction(0x15, R2, 2, ethertype(0x0800)),  // if r2 == IP goto shoot
        instruction(0x15, R2, 1, ethertype(0x86dd)),  // if r2 == IPv6 goto shoot
        instruction(0x95, 0, 0, [0; 4]),              // exit
        instruction(0xb7, 0, 0, 2_u32.to_ne_bytes()), // shoot: r0 = 2
        instruction(0x95, 0, 0, [0; 4]),              // exit
    ]
    .concat()
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
fn object() -> Vec<u8> {
    let program = program();
    let strings = b"\0shoot\0classifier\0license\0.symtab\0.strtab\0";
    // One symbol after the empty one: a global function at the start of section 1.
    let symbol = [
        &1_u32.to_ne_bytes()[..],
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
        section(7, 1, 6, &program[..], 0, 0, 0),
        section(18, 1, 2, b"GPL\0", 0, 0, 0),
        section(26, 2, 0, &symbols, 4, 1, 24),
        section(34, 3, 0, strings, 0, 0, 0),
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
