//! Every map, with why it has its size.

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use flowlog_common::{
    counter::Counters,
    event::Address,
    peer::{MOST_PEERS, PeerCounts},
    repeat::{MOST_REPEATS, RepeatCounts, RepeatKey},
    settings::{REASON_IGNORED, REASONS},
    shed::{Judgement, MOST_JUDGED, MOST_UNTOLD},
};

/// Events. 8 MiB hold 65,536 events: 3 s of 20,000 a second while the agent does not run. The agent may
/// ask for another size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Cgroups that come and go, apart from the events so that a storm of connects cannot displace them: 1 MiB
/// hold 1,900.
#[map]
pub(crate) static CGROUPS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// DNS answers, apart from the events so that a storm of look-ups cannot displace them: 256 KiB hold 480, 24,000 a second
/// at the usual draining.
#[map]
pub(crate) static NAMES: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

/// Connected datagram sockets that have not sent yet, by cookie. A resolver makes several a look-up and
/// closes them at once; LRU forgets those first.
#[map]
pub(crate) static UNSENT: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Connected datagram sockets that have sent and to which nothing came back yet, by cookie.
#[map]
pub(crate) static UNANSWERED: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Accepted connections that are open, by the number that stands in for their cookie; the agent makes it small where
/// the kernel gives cookies (5.12). The longest open gives way, and its close is not told. 1.2 MiB.
#[map]
pub(crate) static CHILDREN: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Peers of datagram sockets that name one in each call; the one that was quiet longest gives way. 9 MiB.
#[map]
pub(crate) static PEERS: LruHashMap<RepeatKey, PeerCounts> =
    LruHashMap::with_max_entries(MOST_PEERS as u32, 0);

/// Keys whose connections are counted rather than told, with the slot of their counts; only the agent writes here.
/// 1.4 MiB.
#[map]
pub(crate) static REPEATS: HashMap<RepeatKey, u32> = HashMap::with_max_entries(MOST_REPEATS as u32, 0);

/// The counts, by slot. Apart from the keys, so that a program that is just counting when the agent takes a key
/// away still counts where the agent reads. 1 MiB.
#[map]
pub(crate) static REPEAT_COUNTS: Array<RepeatCounts> = Array::with_max_entries(MOST_REPEATS as u32, 0);

/// The connection that was last counted or shed at its opener, a CPU.
#[map]
pub(crate) static LAST_COUNTED: PerCpuArray<Tuple> = PerCpuArray::with_max_entries(1, 0);

/// Both ends of a connection, as its opener's socket has them.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Tuple {
    pub(crate) opener: Address,
    pub(crate) listener: Address,
    pub(crate) opener_port: u16,
    pub(crate) listener_port: u16,
}

/// How full the ring is; written here alone.
#[map]
pub(crate) static PRESSURE: Array<Pressure> = Array::with_max_entries(1, 0);

/// What the kernel half keeps in mind of the ring.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Pressure {
    /// How many steps give way (`shed::level`).
    pub(crate) level: u32,
    /// 1 once a socket was put into `UNTOLD`.
    pub(crate) untold: u32,
}

/// Kinds that the agent has judged, of which repeats give way first. 1.5 MiB.
#[map]
pub(crate) static JUDGED: LruHashMap<RepeatKey, Judgement> =
    LruHashMap::with_max_entries(MOST_JUDGED as u32, 0);

/// The agent's latest snapshot: judgements by another one do not hold. Written by the agent alone.
#[map]
pub(crate) static SNAPSHOT: Array<u32> = Array::with_max_entries(1, 0);

/// Sockets whose attempt was not handed over, by cookie, and why (`shed::Mark`). 1.3 MiB.
#[map]
pub(crate) static UNTOLD: LruHashMap<u64, u32> = LruHashMap::with_max_entries(MOST_UNTOLD as u32, 0);

/// What of the events was told, which the agent keeps here so that it outlives it (`model/ledger.rs`); no program looks
/// at it. The agent asks for the size.
#[map]
pub(crate) static LEDGER: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What was told of the counts, which the agent keeps here so that it outlives it (`model/tally.rs`); no program looks at
/// it. The agent asks for the size.
#[map]
pub(crate) static TALLY: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Counters, summed by the agent.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// What each `enum skb_drop_reason` of the running kernel means to us; read-only, set by the agent.
#[unsafe(no_mangle)]
pub(crate) static DROP_REASONS: Global<[u8; REASONS]> = Global::new([REASON_IGNORED; REASONS]);

/// Bytes in `EVENTS`, beside those that are kept, from which on a wake-up is forced: half of the room for them.
#[unsafe(no_mangle)]
pub(crate) static WAKE_BYTES: Global<u64> = Global::new(4 << 20);

/// Bytes of `EVENTS` that are always filled, since they are kept for the next agent; 0 where nothing is.
#[unsafe(no_mangle)]
pub(crate) static KEPT_BYTES: Global<u64> = Global::new(0);

/// Which generation of programs this is.
#[unsafe(no_mangle)]
pub(crate) static GENERATION: Global<u32> = Global::new(0);

/// 1 where repeats are counted at all.
#[unsafe(no_mangle)]
pub(crate) static COUNT_REPEATS: Global<u8> = Global::new(0);

/// 1 where the hook `sock_send_length` is there, so that a connect on a datagram socket is worth a table entry.
#[unsafe(no_mangle)]
pub(crate) static SEND_HOOK: Global<u8> = Global::new(0);

/// 1 where DNS answers are copied.
#[unsafe(no_mangle)]
pub(crate) static COPY_ANSWERS: Global<u8> = Global::new(0);

/// 1 where packets are observed.
#[unsafe(no_mangle)]
pub(crate) static PACKETS: Global<u8> = Global::new(0);

/// 1 where packets that come to a socket are.
#[unsafe(no_mangle)]
pub(crate) static PACKETS_IN: Global<u8> = Global::new(0);

/// 1 where the hook `sock_recv_length` is there, so that a first send is worth a table entry.
#[unsafe(no_mangle)]
pub(crate) static RECV_HOOK: Global<u8> = Global::new(0);
