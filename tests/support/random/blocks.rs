//! Address blocks: around addresses that are asked about, some with host bits set, some mapped; and their edges.

use super::dice::Dice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block, masked: base and prefix length.
pub(super) type Net = (IpAddr, u32);

/// A block around one of the addresses, as written and as it is.
pub(super) fn block(dice: &mut Dice, addresses: &[IpAddr]) -> (String, Net) {
    let ip = dice.find(addresses).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let bits = match ip {
        IpAddr::V4(_) => dice.pick(&[0, 8, 16, 23, 24, 28, 30, 31, 32, 32]),
        IpAddr::V6(_) => dice.pick(&[0, 32, 48, 64, 112, 124, 127, 128, 128]),
    };
    let net = (masked(ip, bits), bits);
    let base = if dice.chance(20) { ip } else { net.0 };
    (format!("{base}/{bits}"), net)
}

/// An IPv4 block in IPv6 clothes, as older API servers stored it.
pub(super) fn mapped((base, bits): Net) -> Option<String> {
    match base {
        IpAddr::V4(base) => Some(format!("{}/{}", base.to_ipv6_mapped(), bits + 96)),
        IpAddr::V6(_) => None,
    }
}

/// A block that lies in this one and is smaller, where there is one.
pub(super) fn inside(dice: &mut Dice, (base, bits): Net, addresses: &[IpAddr]) -> Option<String> {
    let width = if base.is_ipv4() { 32 } else { 128 };
    let within: Vec<IpAddr> = addresses
        .iter()
        .copied()
        .filter(|ip| ip.is_ipv4() == base.is_ipv4() && masked(*ip, bits) == base)
        .collect();
    let ip = dice.find(&within)?;
    let longer: Vec<u32> = [8, 16, 24, 30, 31, 32, 64, 112, 127, 128]
        .into_iter()
        .filter(|longer| *longer > bits && *longer <= width)
        .collect();
    let longer = dice.find(&longer)?;
    Some(format!("{}/{longer}", masked(ip, longer)))
}

/// First and last address of a block as written, and their neighbours outside.
pub(super) fn edges(written: &str) -> Option<Vec<IpAddr>> {
    let (base, bits) = written.split_once('/')?;
    let (base, bits) = (base.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?);
    let (base, bits) = match base.to_canonical() {
        IpAddr::V4(mapped) if base.is_ipv6() => (IpAddr::V4(mapped), bits.checked_sub(96)?),
        _ => (base, bits),
    };
    let (first, last) = (masked(base, bits), masked(base, bits));
    let last = filled(last, bits);
    Some(
        [Some(first), Some(last), neighbour(first, false), neighbour(last, true)]
            .into_iter()
            .flatten()
            .collect(),
    )
}

/// The address before or after.
pub(super) fn neighbour(ip: IpAddr, after: bool) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => {
            let ip = u32::from(ip);
            let next = if after { ip.checked_add(1) } else { ip.checked_sub(1) };
            next.map(|next| IpAddr::V4(Ipv4Addr::from(next)))
        }
        IpAddr::V6(ip) => {
            let ip = u128::from(ip);
            let next = if after { ip.checked_add(1) } else { ip.checked_sub(1) };
            next.map(|next| IpAddr::V6(Ipv6Addr::from(next)))
        }
    }
}

fn masked(ip: IpAddr, bits: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip) & !host_bits(bits))),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) & !host_bits_v6(bits))),
    }
}

fn filled(ip: IpAddr, bits: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip) | host_bits(bits))),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) | host_bits_v6(bits))),
    }
}

fn host_bits(bits: u32) -> u32 {
    u32::MAX.checked_shr(bits).unwrap_or_default()
}

fn host_bits_v6(bits: u32) -> u128 {
    u128::MAX.checked_shr(bits).unwrap_or_default()
}
