//! Image references as container runtimes read them: `nginx` is `docker.io/library/nginx:latest`.
//!
//! The grammar is that of distribution/reference, which Docker, containerd and CRI-O share. What reads it by a regular
//! expression (`oci-spec`) takes 12 MiB and 56 ms for that with the first one; tests hold this reader against it.

use std::fmt;

/// Where an image lies that names no registry.
const DOCKER_HUB: &str = "docker.io";
/// Its other names.
const DOCKER_HUB_TOO: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
/// Most bytes of a repository's name.
const LONGEST_NAME: usize = 255;
/// Most bytes of a tag.
const LONGEST_TAG: usize = 128;
/// Algorithms of digests, with the hexadecimal digits of each.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// An image by its registry and repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Registry and repository: `docker.io/library/nginx`.
    pub name: String,
    /// Tag; where neither it nor a digest is written, `latest`.
    pub tag: Option<String>,
    /// Digest (`sha256:…`).
    pub digest: Option<String>,
}

/// No reference to an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{written}` is no image: {why}")]
pub struct ImageError {
    written: String,
    why: String,
}

impl Image {
    /// Reads one as a pod's spec or a runtime's status has it.
    ///
    /// # Errors
    /// It is no reference to an image.
    pub fn parse(written: &str) -> Result<Self, ImageError> {
        Self::read(written.trim()).map_err(|why| ImageError { written: written.to_owned(), why })
    }

    fn read(written: &str) -> Result<Self, String> {
        let (rest, digest) = match written.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (written, None),
        };
        // A colon before a slash is that of a registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(digest) = digest {
            check_digest(digest)?;
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(format!("`{tag}` is no tag"));
        }
        let tag = tag.or_else(|| digest.is_none().then_some("latest"));
        Ok(Self { name: full_name(name)?, tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) })
    }
}

/// With the registry and the folder that may be left out.
fn full_name(name: &str) -> Result<String, String> {
    let (first, rest) = match name.split_once('/') {
        Some((first, rest)) => (Some(first), rest),
        None => (None, name),
    };
    if let Some(part) = first.filter(|part| !is_domain(part) && !is_component(part)) {
        return Err(format!("`{part}` is neither a registry nor part of a repository's name"));
    }
    if let Some(part) = rest.split('/').find(|part| !is_component(part)) {
        return Err(match part {
            "" => "the repository's name is missing, or a part of it is".to_owned(),
            part => format!(
                "`{part}` is no part of a repository's name, which is of lower-case letters and digits"
            ),
        });
    }
    let is_registry = |part: &&str| {
        part.contains(['.', ':'])
            || *part == "localhost"
            || part.chars().any(|letter| letter.is_ascii_uppercase())
    };
    let (registry, repository) = match first.filter(is_registry) {
        Some(hub) if DOCKER_HUB_TOO.contains(&hub) => (DOCKER_HUB, rest),
        Some(registry) => (registry, rest),
        None => (DOCKER_HUB, name),
    };
    let folder = if registry == DOCKER_HUB && !repository.contains('/') { "library/" } else { "" };
    if folder.len() + repository.len() > LONGEST_NAME {
        return Err(format!("the repository's name is longer than {LONGEST_NAME} bytes"));
    }
    Ok(format!("{registry}/{folder}{repository}"))
}

/// A host's name, and a port where there is one.
fn is_domain(written: &str) -> bool {
    let (host, port) = match written.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (written, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(is_label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Lower-case letters and digits, in which `.`, `_`, `__` and any number of `-` stand apart from each other.
fn is_component(part: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let separators = part.split(is_plain).filter(|between| !between.is_empty());
    let is_separator =
        |between: &str| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-');
    part.starts_with(is_plain) && part.ends_with(is_plain) && separators.into_iter().all(is_separator)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=LONGEST_TAG).contains(&tag.len())
        && tag.bytes().enumerate().all(|(at, byte)| is_word(byte) || (at > 0 && matches!(byte, b'.' | b'-')))
}

fn check_digest(digest: &str) -> Result<(), String> {
    let (algorithm, digits) = digest.split_once(':').ok_or_else(|| format!("`{digest}` is no digest"))?;
    let (_, length) = DIGESTS
        .iter()
        .find(|(known, _)| *known == algorithm)
        .ok_or_else(|| format!("digests by `{algorithm}` are not known"))?;
    if digits.len() != *length || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("a digest by {algorithm} has {length} hexadecimal digits"));
    }
    Ok(())
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Image;
    use oci_spec::distribution::Reference;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn an_image_is_read_as_runtimes_read_it() {
        let rows = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("grafana/grafana", "docker.io/grafana/grafana:latest"),
            ("index.docker.io/grafana/loki:3", "docker.io/grafana/loki:3"),
            ("registry-1.docker.io/library/redis:7", "docker.io/library/redis:7"),
            ("docker.io/redis", "docker.io/library/redis:latest"),
            ("localhost/own:1", "localhost/own:1"),
            ("localhost:5000/own", "localhost:5000/own:latest"),
            ("registry.example.com:8443/a/b/c:v1", "registry.example.com:8443/a/b/c:v1"),
            ("quay.io/argoproj/argocd", "quay.io/argoproj/argocd:latest"),
        ];
        for (written, expected) in rows {
            assert_eq!(Image::parse(written).unwrap().to_string(), expected, "{written}");
        }
        let pinned = Image::parse(&format!("nginx:1.27@{DIGEST}")).unwrap();
        assert_eq!((pinned.tag.as_deref(), pinned.digest.as_deref()), (Some("1.27"), Some(DIGEST)));
        let bare = Image::parse(&format!("ghcr.io/a/b@{DIGEST}")).unwrap();
        assert_eq!((bare.tag, bare.digest.as_deref()), (None, Some(DIGEST)));
    }

    #[test]
    fn what_is_no_image_is_refused_and_named() {
        for written in ["", "  ", "quay.io/UPPER", "a b", "nginx:", "nginx@sha256:12", "-x/y"] {
            let error = Image::parse(written).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{written}` is no image: ")), "{error}");
        }
    }

    /// What the field's library makes of it. It asks for lower case where the grammar's authors take a first part with
    /// capitals for a registry, and takes letters of any script for a tag's.
    fn by_library(written: &str) -> Option<(String, Option<String>, Option<String>)> {
        let reference: Reference = written.parse().ok()?;
        let registry = match reference.registry() {
            "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
            other => other,
        };
        let folder =
            if registry == "docker.io" && !reference.repository().contains('/') { "library/" } else { "" };
        let name = format!("{registry}/{folder}{}", reference.repository());
        Some((name, reference.tag().map(str::to_owned), reference.digest().map(str::to_owned)))
    }

    fn by_us(written: &str) -> Option<(String, Option<String>, Option<String>)> {
        Image::parse(written).ok().map(|image| (image.name, image.tag, image.digest))
    }

    /// Parts of references, whole and broken, in any order.
    fn written() -> impl Strategy<Value = String> {
        let hex = |count: usize| "a1".repeat(count / 2);
        let part = prop_oneof![
            Just("/".to_owned()),
            Just(":".to_owned()),
            Just("@".to_owned()),
            Just(format!("@sha256:{}", hex(64))),
            Just(format!("@sha512:{}", hex(128))),
            Just(format!("@sha256:{}", hex(40))),
            Just(format!("@md5:{}", hex(32))),
            Just("docker.io/".to_owned()),
            Just("index.docker.io/".to_owned()),
            Just("registry-1.docker.io/".to_owned()),
            Just("localhost/".to_owned()),
            Just("example.com:5000/".to_owned()),
            Just(":v1.2-rc_3".to_owned()),
            "[a-z0-9]{1,4}",
            "[a-z0-9._-]{1,5}",
            "[A-Z.:_-]{1,3}",
            Just("a".repeat(130)),
            Just(" ".to_owned()),
        ];
        proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]
        #[test]
        fn a_reference_is_read_as_the_fields_library_reads_it(written in written()) {
            let first = written.trim().split_once('/').map_or("", |(first, _)| first);
            prop_assume!(!first.chars().any(|letter| letter.is_ascii_uppercase()) || first.contains(['.', ':']));
            prop_assert_eq!(by_us(&written), by_library(written.trim()));
        }
    }
}
