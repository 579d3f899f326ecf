//! Image references as container runtimes read them: `nginx` is `docker.io/library/nginx:latest`.
//!
//! The grammar is that of distribution/reference, which Docker, containerd and CRI-O share.

use oci_spec::distribution::Reference;
use std::fmt;

/// Other names of Docker Hub's registry.
const DOCKER_HUB: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

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
        let refuse = |why: String| ImageError { written: written.to_owned(), why };
        let reference: Reference = written.trim().parse().map_err(|error| refuse(format!("{error}")))?;
        let registry = match reference.registry() {
            hub if DOCKER_HUB.contains(&hub) => "docker.io",
            other => other,
        };
        let library = registry == "docker.io" && !reference.repository().contains('/');
        let folder = if library { "library/" } else { "" };
        Ok(Self {
            name: format!("{registry}/{folder}{}", reference.repository()),
            tag: reference.tag().map(str::to_owned),
            digest: reference.digest().map(str::to_owned),
        })
    }
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
}
