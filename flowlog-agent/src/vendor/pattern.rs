//! Which images a line of the catalogue means.

use crate::model::glob;

/// A repository with its registry, or all below a folder: `quay.io/argoproj/`; `*` for any part of a name between slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    written: String,
    parts: Vec<String>,
    /// It ends in `/`: what is below counts, what is beside does not.
    is_folder: bool,
}

impl Pattern {
    /// # Errors
    /// Why it can match nothing.
    pub(super) fn parse(written: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("`{written}` is no pattern of images: {why}"));
        if written.contains(char::is_whitespace) || written.chars().any(char::is_control) {
            return refuse("it has blanks in it");
        }
        let is_folder = written.ends_with('/');
        let parts: Vec<String> = written.trim_end_matches('/').split('/').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            return refuse("a part between two slashes is empty");
        }
        if !is_folder && parts.len() < 2 {
            return refuse("write the registry, too (`docker.io/library/nginx`), or end it in `/`");
        }
        if parts.iter().all(|part| part.chars().all(|letter| letter == '*')) {
            return refuse("it means every image");
        }
        let last = parts.last().filter(|_| !is_folder);
        if last.is_some_and(|last| last.contains([':', '@']) && parts.len() > 1) {
            return refuse("a repository is meant, without tag and digest");
        }
        Ok(Self { written: written.to_owned(), parts, is_folder })
    }

    pub(super) fn written(&self) -> &str {
        &self.written
    }

    /// Whether this registry and repository are meant.
    pub(super) fn matches(&self, name: &str) -> bool {
        let mut parts = name.split('/');
        let all = self.parts.iter().all(|pattern| parts.next().is_some_and(|part| glob(pattern, part)));
        all && parts.next().is_some() == self.is_folder
    }

    /// How particular it is: more letters that must be there.
    pub(super) fn weight(&self) -> usize {
        self.written.chars().filter(|letter| *letter != '*').count()
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn a_folder_is_all_below_it_and_a_repository_itself() {
        let rows = [
            ("quay.io/argoproj/", "quay.io/argoproj/argocd", true),
            ("quay.io/argoproj/", "quay.io/argoproj/deep/er", true),
            ("quay.io/argoproj/", "quay.io/argoproj", false),
            ("quay.io/argoproj/", "quay.io/argoprojlabs/x", false),
            ("docker.elastic.co/", "docker.elastic.co/beats/filebeat", true),
            ("docker.elastic.co/", "docker.elastic.co.evil.example/beats/filebeat", false),
            ("docker.io/library/redis", "docker.io/library/redis", true),
            ("docker.io/library/redis", "docker.io/library/redis-stack", false),
            ("docker.io/library/redis", "docker.io/library/redis/more", false),
            (
                "*.dkr.ecr.*.amazonaws.com/eks/",
                "602401143452.dkr.ecr.eu-west-1.amazonaws.com/eks/pause",
                true,
            ),
            (
                "*.dkr.ecr.*.amazonaws.com/eks/",
                "602401143452.dkr.ecr.eu-west-1.amazonaws.com/own/pause",
                false,
            ),
            ("docker.io/rancher/mirrored-calico-*", "docker.io/rancher/mirrored-calico-node", true),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_that_means_nothing_or_everything_is_refused() {
        for (written, why) in [
            ("", "empty"),
            ("nginx", "registry"),
            ("docker.io//x", "empty"),
            ("*/", "every image"),
            ("docker.io/library/redis:7", "without tag"),
            ("docker.io/a b", "blanks"),
        ] {
            let error = Pattern::parse(written).unwrap_err();
            assert!(error.contains(why), "{written}: {error}");
        }
        assert!(Pattern::parse("registry.example.com:8443/").is_ok());
    }
}
