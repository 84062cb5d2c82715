//! Files that are whole under their own name, or as they were before: each is written beside its
//! place, as `NAME.part`, and renamed.
//!
//! What is no file (a pipe, a device, an open descriptor) cannot be: it is written to as it is.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Where descriptors of this process have names. What they lead to may be a file, but whoever
/// opened it reads on there.
const DESCRIPTORS: [&str; 4] = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"];

/// The place of a file that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct WholeFile {
    path: PathBuf,
    /// Beside it, until it is whole; none if it is no file.
    part: Option<PathBuf>,
}

impl WholeFile {
    /// The file `path`, there or not; behind a link, what the link leads to.
    pub(crate) fn at(path: &Path) -> Self {
        let is_descriptor = DESCRIPTORS.iter().any(|name| path.starts_with(name));
        if is_descriptor || fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Self { path: path.to_owned(), part: None };
        }
        let path = resolved(path);
        let mut part = OsString::from(&path);
        part.push(".part");
        Self { path, part: Some(part.into()) }
    }

    /// Whether it is no file: then its readers have what was written before an error.
    pub(crate) const fn is_stream(&self) -> bool {
        self.part.is_none()
    }

    /// Whether one of both would be written over the other: they are one place, or one is where the
    /// other is written first.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let id = |it: &Self| fs::metadata(&it.path).ok().map(|found| (found.dev(), found.ino()));
        self.path == other.path
            || self.part.as_ref() == Some(&other.path)
            || other.part.as_ref() == Some(&self.path)
            || id(self).is_some_and(|found| id(other) == Some(found))
    }

    /// Opens what is written to.
    ///
    /// # Errors
    ///
    /// It cannot be made; the file is as it was.
    pub(crate) fn create(&self) -> io::Result<File> {
        let Some(part) = &self.part else {
            return OpenOptions::new().append(true).open(&self.path);
        };
        // A new one: a write that an end of the node has cut off may still go to the last.
        match fs::remove_file(part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => File::create(part),
        }
    }

    /// Waits until what was written to `file` is on the disk.
    ///
    /// # Errors
    ///
    /// It may not be.
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        if self.is_stream() { Ok(()) } else { file.sync_all() }
    }

    /// Gives the whole file its name.
    ///
    /// # Errors
    ///
    /// The name is still that of the file before.
    pub(crate) fn publish(&self) -> io::Result<()> {
        self.part.as_ref().map_or(Ok(()), |part| fs::rename(part, &self.path))
    }

    /// Removes what never became whole, so far as there is any.
    pub(crate) fn discard(&self) {
        if let Some(part) = &self.part {
            // The error that led here is the one to be told.
            let _may_fail = fs::remove_file(part);
        }
    }
}

/// `path` without links, though the file need not be there.
fn resolved(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")));
        let whole = folder.ok().zip(path.file_name()).map(|(folder, name)| folder.join(name));
        whole.unwrap_or_else(|| path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::symlink};

    use super::*;

    /// Goal: a file is replaced only once it is whole, behind a link too; no other file is touched.
    #[test]
    fn a_file_is_replaced_when_it_is_whole() {
        let folder = std::env::temp_dir().join(format!("evenkeel-whole-{}", std::process::id()));
        let name = |name: &str| folder.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(name("chain.rlp"), "old").expect("a file");
        fs::write(name("chain.part"), "another's").expect("a file");
        symlink("chain.rlp", name("link")).expect("a link");
        let link = WholeFile::at(&name("link"));
        let meets = |file: &str| WholeFile::at(&name(file)).meets(&link);
        let met = ["chain.rlp", "chain.rlp.part", "chain.part"].map(meets);
        assert_eq!(met, [true, true, false]);
        let (absent, same) =
            (name("new"), name("../").join(folder.file_name().expect("it has one")));
        assert!(WholeFile::at(&absent).meets(&WholeFile::at(&same.join("new"))));

        let read = |file: &str| fs::read_to_string(name(file)).ok();
        for (is_whole, expected) in [(false, "old"), (true, "new")] {
            let mut file = link.create().expect("it can be made");
            file.write_all(b"new").expect("it can be written");
            link.sync(&file).expect("it can be synced");
            assert_eq!(read("chain.rlp.part").as_deref(), Some("new"));
            if is_whole {
                link.publish().expect("it can be renamed");
            }
            link.discard();
            assert_eq!(read("chain.rlp.part"), None);
            assert_eq!(read("chain.rlp").as_deref(), Some(expected));
        }
        assert_eq!(read("chain.part").as_deref(), Some("another's"));
        assert!(fs::symlink_metadata(name("link")).expect("it stays").is_symlink());
        fs::remove_dir_all(&folder).expect("it is there");
    }

    /// Goal: nothing is renamed over a device, a folder or a descriptor.
    #[test]
    fn what_is_no_file_is_not_replaced() {
        for path in ["/dev/null", "/dev", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            let stream = WholeFile::at(Path::new(path));
            assert!(stream.is_stream() && stream.part.is_none(), "{path}");
        }
        let null = WholeFile::at(Path::new("/dev/null"));
        let mut file = null.create().expect("it can be opened");
        file.write_all(b"nothing").expect("it takes all");
        null.sync(&file).and_then(|()| null.publish()).expect("nothing to be done");
        null.discard();
        assert!(WholeFile::at(Path::new("/dev")).create().is_err());
    }
}
