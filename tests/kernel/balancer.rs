//! A socket load balancer, as network plugins have them: whoever dials a service dials its backend instead.

use crate::cut::{instruction, object, registers};
use aya::Ebpf;
use aya::EbpfLoader;
use aya::programs::CgroupAttachMode;
use aya::programs::cgroup_sock_addr::CgroupSockAddr;
use std::fs::File;
use std::net::SocketAddrV4;
use std::path::Path;

/// Connects below the cgroup go to `backend` where they were meant for `service`, for as long as what is returned lives.
pub(crate) fn balance(cgroup: &Path, service: SocketAddrV4, backend: SocketAddrV4) -> Ebpf {
    let mut ebpf = EbpfLoader::new().load(&object("cgroup/connect4", &turn(service, backend))).unwrap();
    let program: &mut CgroupSockAddr = ebpf.program_mut("shoot").unwrap().try_into().unwrap();
    program.load().unwrap();
    program.attach(File::open(cgroup).unwrap(), CgroupAttachMode::Single).unwrap();
    ebpf
}

/// `user_ip4` and `user_port` of the context (`struct bpf_sock_addr`), both in network order.
const ADDRESS: i16 = 4;
const PORT: i16 = 24;

/// Always 1: the connect goes on.
fn turn(service: SocketAddrV4, backend: SocketAddrV4) -> Vec<u8> {
    let address = |of: SocketAddrV4| u32::from_ne_bytes(of.ip().octets());
    let port = |of: SocketAddrV4| u32::from(of.port().to_be());
    [
        instruction(0xb7, 0, 0, 1),                              // r0 = 1
        instruction(0x61, registers(2, 1), ADDRESS, 0),          // r2 = ctx->user_ip4
        instruction(0x56, registers(2, 0), 6, address(service)), // if w2 != service exit
        instruction(0x61, registers(2, 1), PORT, 0),             // r2 = ctx->user_port
        instruction(0x56, registers(2, 0), 4, port(service)),    // if w2 != its port exit
        instruction(0xb4, registers(2, 0), 0, address(backend)), // w2 = backend
        instruction(0x63, registers(1, 2), ADDRESS, 0),          // ctx->user_ip4 = w2
        instruction(0xb4, registers(2, 0), 0, port(backend)),    // w2 = its port
        instruction(0x63, registers(1, 2), PORT, 0),             // ctx->user_port = w2
        instruction(0x95, 0, 0, 0),                              // exit
    ]
    .concat()
}
