//! A token as a kubelet mounts it: `token` leads to `..data/token`, and `..data` to a folder, in whose place another one is
//! put when the token is renewed.

use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A folder with a token.
#[derive(Debug)]
pub struct MountedToken(PathBuf);

impl MountedToken {
    /// Puts the first one there.
    pub fn new(folder: &Path, text: &str) -> Result<Self> {
        let mounted = Self(folder.to_owned());
        mounted.renew(text)?;
        symlink("..data/token", mounted.path()).context("link the token")?;
        Ok(mounted)
    }

    /// The file that is read.
    pub fn path(&self) -> PathBuf {
        self.0.join("token")
    }

    /// Another in its place, at once.
    pub fn renew(&self, text: &str) -> Result<()> {
        let within = |name: &str| self.0.join(name);
        let before = match fs::read_link(within("..data")) {
            Ok(before) => Some(before),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).context("read the link to the folder of before"),
        };
        let folder = format!("..{text}");
        fs::create_dir(within(&folder)).context("make the folder of the token")?;
        fs::write(within(&folder).join("token"), text).context("write the token")?;
        symlink(&folder, within("..data_tmp")).context("link the folder of the token")?;
        fs::rename(within("..data_tmp"), within("..data"))
            .context("put it in the place of the one before")?;
        match before {
            Some(before) => fs::remove_dir_all(self.0.join(before)).context("remove the folder of before"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_newest_and_nothing_older_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let token = MountedToken::new(folder.path(), "first").unwrap();
        assert_eq!(fs::read_to_string(token.path()).unwrap(), "first");
        token.renew("second").unwrap();
        assert_eq!(fs::read_to_string(token.path()).unwrap(), "second");
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["..data", "..second", "token"]);
    }
}
