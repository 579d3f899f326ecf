//! Names of the errors that a connecting process sees. Linux numbers of every architecture that
//! Kubernetes runs on (asm-generic; x86, arm64, riscv, ppc64le, s390x agree).

use std::borrow::Cow;

const NAMES: [(u16, &str); 38] = [
    (1, "EPERM"),
    (2, "ENOENT"),
    (4, "EINTR"),
    (5, "EIO"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (19, "ENODEV"),
    (22, "EINVAL"),
    (32, "EPIPE"),
    (71, "EPROTO"),
    (88, "ENOTSOCK"),
    (89, "EDESTADDRREQ"),
    (90, "EMSGSIZE"),
    (91, "EPROTOTYPE"),
    (92, "ENOPROTOOPT"),
    (93, "EPROTONOSUPPORT"),
    (94, "ESOCKTNOSUPPORT"),
    (95, "EOPNOTSUPP"),
    (96, "EPFNOSUPPORT"),
    (97, "EAFNOSUPPORT"),
    (98, "EADDRINUSE"),
    (99, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (102, "ENETRESET"),
    (103, "ECONNABORTED"),
    (104, "ECONNRESET"),
    (105, "ENOBUFS"),
    (106, "EISCONN"),
    (107, "ENOTCONN"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
    (114, "EALREADY"),
    (115, "EINPROGRESS"),
];

/// The name, or `E` and the number where it is not one that sockets are known to give.
pub(super) fn errno_name(errno: u16) -> Cow<'static, str> {
    NAMES
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| Cow::Owned(format!("E{errno}")), |(_, name)| Cow::Borrowed(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_system() {
        for (number, name) in NAMES {
            let system = nix::errno::Errno::from_raw(i32::from(number));
            assert_eq!(format!("{system:?}"), name);
        }
    }

    #[test]
    fn a_number_without_a_name_is_told_as_it_is() {
        assert_eq!(errno_name(111), "ECONNREFUSED");
        assert_eq!(errno_name(524), "E524");
    }
}
