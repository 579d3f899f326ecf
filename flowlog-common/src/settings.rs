//! What the agent tells the kernel half before it is loaded.
//!
//! All of it are read-only globals that the agent overrides: the verifier takes them for constants, loads at
//! such offsets are checked as if they were compiled in, and branches on them are pruned.

/// Struct members that the kernel half reads, as `(symbol, [(struct, member), …])`: the symbol's value is the
/// sum of the members' byte offsets in the running kernel, found in its BTF.
///
/// Calls the macro that it is given once with all rows, so that both halves expand the same list.
#[macro_export]
macro_rules! for_each_offset {
    ($callback:ident) => {
        $callback! {
            SKC_DADDR: "sock_common" "skc_daddr";
            SKC_RCV_SADDR: "sock_common" "skc_rcv_saddr";
            SKC_DPORT: "sock_common" "skc_dport";
            SKC_NUM: "sock_common" "skc_num";
            SKC_FAMILY: "sock_common" "skc_family";
            SKC_STATE: "sock_common" "skc_state";
            SKC_V6_DADDR: "sock_common" "skc_v6_daddr";
            SKC_V6_RCV_SADDR: "sock_common" "skc_v6_rcv_saddr";
            SKC_COOKIE: "sock_common" "skc_cookie";
            SK_PROTOCOL: "sock" "sk_protocol";
            SK_ERR: "sock" "sk_err";
            SK_ERR_SOFT: "sock" "sk_err_soft";
            SKC_FLAGS: "sock_common" "skc_flags";
            SK_ERROR_QUEUE: "sock" "sk_error_queue";
            SK_ERROR_QUEUE_LAST: "sock" "sk_error_queue", "sk_buff_head" "prev";
            SKB_QUEUED_ERRNO: "sk_buff" "cb", "sock_exterr_skb" "ee", "sock_extended_err" "ee_errno";
            SK_SHUTDOWN: "sock" "sk_shutdown";
            SK_CGRP_DATA: "sock" "sk_cgrp_data";
            INET_SPORT: "inet_sock" "inet_sport";
            TCP_BYTES_SENT: "tcp_sock" "bytes_sent";
            TCP_BYTES_RETRANS: "tcp_sock" "bytes_retrans";
            TCP_BYTES_RECEIVED: "tcp_sock" "bytes_received";
            TCP_SRTT_US: "tcp_sock" "srtt_us";
            TCP_TOTAL_RETRANS: "tcp_sock" "total_retrans";
            CGROUP_KN: "cgroup" "kn";
            CGROUP_ROOT: "cgroup" "root";
            CGROUP_ROOT_HIERARCHY_ID: "cgroup_root" "hierarchy_id";
            KERNFS_NODE_ID: "kernfs_node" "id";
            SKB_HEAD: "sk_buff" "head";
            SKB_NETWORK_HEADER: "sk_buff" "network_header";
            SKB_PROTOCOL: "sk_buff" "protocol";
            SKB_SK: "sk_buff" "sk";
            SOCKET_SK: "socket" "sk";
            SK_TYPE: "sock" "sk_type";
            SKC_NET: "sock_common" "skc_net";
            NET_INUM: "net" "ns", "ns_common" "inum";
            TCP_BYTES_ACKED: "tcp_sock" "bytes_acked";
            TCP_SND_NXT: "tcp_sock" "snd_nxt";
            TCP_SND_UNA: "tcp_sock" "snd_una";
            TASK_TGID: "task_struct" "tgid";
            TASK_COMM: "task_struct" "comm";
            TASK_CGROUPS: "task_struct" "cgroups";
            CSS_SET_CGROUP: "css_set" "dfl_cgrp";
            ITER_META_SEQ: "bpf_iter_meta" "seq";
        }
    };
}

/// Size of the table of drop reasons; `enum skb_drop_reason` had 128 values in 6.18. Reasons of subsystems
/// (number ≥ 65,536) are not read.
pub const REASONS: usize = 256;
/// Entry of the table `DROP_REASONS`: not of interest.
pub const REASON_IGNORED: u8 = 0;
/// Entry of the table `DROP_REASONS`: a filter, a route or a limit stopped the packet.
pub const REASON_DROP: u8 = 1;
/// Entry of the table `DROP_REASONS`: the far end had no socket for the packet.
pub const REASON_NO_SOCKET: u8 = 2;
