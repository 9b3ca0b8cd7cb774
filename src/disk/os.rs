//! The real file system: [`OsDisk`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::{At, Disk, DiskError, DiskLock, DiskTime, FileStat, LockWait};

/// The real file system.
#[derive(Clone, Copy, Debug)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn stat(&self, path: &Path) -> Result<FileStat, DiskError> {
        let metadata = fs::symlink_metadata(path).at("look at", path)?;
        Ok(FileStat::from(&metadata))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        read_regular(path).at("read", path)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, DiskError> {
        let file = open_regular(path).at("read", path)?;
        Ok(Box::new(file))
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf, DiskError> {
        fs::read_link(path).at("read the link", path)
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<PathBuf>, DiskError> {
        let names = fs::read_dir(path).and_then(|entries| {
            entries
                .map(|entry| Ok(PathBuf::from(entry?.file_name())))
                .collect::<io::Result<_>>()
        });
        let mut names: Vec<_> = names.at("list", path)?;
        names.sort_unstable();
        Ok(names)
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let staged = staged_name(path);
        let created = match File::create_new(&staged) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(dir).at("make the directory", dir)?;
                File::create_new(&staged)
            }
            created => created,
        };
        let written = created
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&staged, path));
        if written.is_err() {
            // The error that matters is the first one.
            drop(fs::remove_file(&staged));
        }
        written.at("write", path)
    }

    fn write_new(&self, path: &Path, content: &mut dyn Read) -> Result<u64, DiskError> {
        File::create_new(path)
            .and_then(|mut file| io::copy(content, &mut file))
            .at("write", path)
    }

    fn read_from(&self, path: &Path, offset: u64) -> Result<(FileStat, Vec<u8>), DiskError> {
        let read = || -> io::Result<(FileStat, Vec<u8>)> {
            let mut file = open_regular(path)?;
            let stat = FileStat::from(&file.metadata()?);
            let expected = usize::try_from(stat.size.saturating_sub(offset)).unwrap_or(0);
            let mut bytes = Vec::with_capacity(expected);
            file.seek(io::SeekFrom::Start(offset))?;
            file.read_to_end(&mut bytes)?;
            Ok((stat, bytes))
        };
        read().at("read", path)
    }

    fn append(&self, path: &Path, keep: Option<u64>, bytes: &[u8]) -> Result<FileStat, DiskError> {
        let append = || -> io::Result<FileStat> {
            let mut file = OpenOptions::new().append(true).open(path)?;
            if let Some(keep) = keep
                && file.metadata()?.len() > keep
            {
                file.set_len(keep)?;
            }
            let written = file.write_all(bytes);
            if let (Err(_), Some(keep)) = (&written, keep) {
                // The error that matters is the first one; a torn end is cut by the next append.
                drop(file.set_len(keep));
            }
            written?;
            Ok(FileStat::from(&file.metadata()?))
        };
        append().at("write", path)
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut source = open_regular(from).at("read", from)?;
        let mut target = File::create_new(to).at("write", to)?;
        if share_blocks(&source, &target).at("write", to)? {
            return Ok(());
        }
        io::copy(&mut source, &mut target).at("write", to)?;
        Ok(())
    }

    fn make_link(&self, target: &Path, path: &Path) -> Result<(), DiskError> {
        std::os::unix::fs::symlink(target, path).at("make the link", path)
    }

    fn make_dir(&self, path: &Path) -> Result<(), DiskError> {
        fs::create_dir_all(path).at("make the directory", path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).at("write", to)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("change the mode of", path)
    }

    fn touch(&self, path: &Path) -> Result<(), DiskError> {
        let nothing = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        };
        let times = Timestamps {
            last_access: nothing,
            last_modification: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
        };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(io::Error::from)
            .at("touch", path)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let removed = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.at("remove", path),
        }
    }

    fn remove_empty_dir(&self, path: &Path) -> Result<bool, DiskError> {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            removed => removed.map(|()| true).at("remove", path),
        }
    }

    fn clock(&self, path: &Path) -> Result<DiskTime, DiskError> {
        let probe = || -> io::Result<DiskTime> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            file.rewind()?;
            file.write_all(b".")?;
            let stat = FileStat::from(&file.metadata()?);
            Ok(DiskTime {
                dev: stat.dev,
                ns: stat.mtime_ns,
            })
        };
        probe().at("write", path)
    }

    fn lock(&self, path: &Path, place: u64, wait: LockWait) -> Result<Option<DiskLock>, DiskError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .at("lock", path)?;
        let byte = Byte { file, place };
        let locked = match byte.lock(wait) {
            Ok(()) => Ok(Some(DiskLock::new(Box::new(byte)))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(error) => Err(io::Error::from(error)),
        };
        locked.at("lock", path)
    }
}

/// One byte of a file that is locked through this descriptor and no other one; unlocked on drop.
struct Byte {
    file: File,
    place: u64,
}

impl Byte {
    fn lock(&self, wait: LockWait) -> nix::Result<()> {
        let span = self.span(libc::F_WRLCK);
        loop {
            let locked = match wait {
                LockWait::Try => fcntl(&self.file, FcntlArg::F_OFD_SETLK(&span)),
                LockWait::Block => fcntl(&self.file, FcntlArg::F_OFD_SETLKW(&span)),
            };
            match locked {
                Err(Errno::EINTR) => {}
                locked => return locked.map(drop),
            }
        }
    }

    fn span(&self, kind: libc::c_int) -> libc::flock {
        let narrow = |number: libc::c_int| libc::c_short::try_from(number);
        libc::flock {
            l_type: narrow(kind).expect("kinds of locks are small"),
            l_whence: narrow(libc::SEEK_SET).expect("it is 0"),
            l_start: libc::off_t::try_from(self.place).expect("places are below 2^62"),
            l_len: 1,
            l_pid: 0,
        }
    }
}

impl Drop for Byte {
    fn drop(&mut self) {
        // Race: a process that is being started has a copy of the descriptor for a moment. Closing
        // ours would leave the lock to that copy.
        let unlock = self.span(libc::F_UNLCK);
        let _gone = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&unlock));
    }
}

/// Follows links, as people name files by them. Nothing else than a file is read: a fifo would block,
/// a device may never end.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Lets `to` share the blocks of `from`; `false` where the file system cannot. A file system that
/// could not once is not asked again: the attempt costs as much as copying a small file.
fn share_blocks(from: &File, to: &File) -> io::Result<bool> {
    static CANNOT: AtomicU64 = AtomicU64::new(u64::MAX);
    let (source, target) = (from.metadata()?, to.metadata()?);
    if source.dev() != target.dev() || CANNOT.load(Ordering::Relaxed) == source.dev() {
        return Ok(false);
    }
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(true);
    }
    CANNOT.store(source.dev(), Ordering::Relaxed);
    Ok(false)
}

/// A name beside `path` that no other writer uses: process and a counter.
fn staged_name(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}-{n}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atomic_writes_replace_whole_files_and_leave_nothing_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        OsDisk.write_atomic(&path, b"one").unwrap();
        OsDisk.write_atomic(&path, b"two").unwrap();
        assert_eq!(OsDisk.read(&path).unwrap(), b"two");
        assert_eq!(
            OsDisk.read_dir(&dir.path().join("a/b")).unwrap(),
            [PathBuf::from("file")]
        );
    }

    #[test]
    fn an_append_cuts_what_is_not_to_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(OsDisk.append(&path, None, b"x").unwrap_err().is_not_found());
        OsDisk.write_atomic(&path, b"one, torn").unwrap();
        let stat = OsDisk.append(&path, Some(5), b"two").unwrap();
        assert_eq!(OsDisk.read_from(&path, 5).unwrap(), (stat, b"two".to_vec()));
        OsDisk.append(&path, None, b"!").unwrap();
        assert_eq!(OsDisk.read(&path).unwrap(), b"one, two!");
    }

    #[test]
    fn errors_name_the_path() {
        let error = OsDisk.read(Path::new("/nonexistent/file")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/nonexistent/file`");
        assert!(error.is_not_found());
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        OsDisk.remove(&dir.path().join("gone")).unwrap();
        fs::create_dir_all(dir.path().join("d/e")).unwrap();
        OsDisk.remove(&dir.path().join("d")).unwrap();
        assert!(OsDisk.read_dir(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn a_link_or_fifo_is_not_opened_as_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (link, fifo) = (dir.path().join("link"), dir.path().join("fifo"));
        OsDisk.make_link(Path::new("/etc/passwd"), &link).unwrap();
        rustix::fs::mknodat(
            CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(OsDisk.open(&link).is_err());
        assert!(OsDisk.open(&fifo).is_err());
    }

    #[test]
    fn a_copy_is_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        OsDisk.write_atomic(&from, b"content").unwrap();
        OsDisk.copy(&from, &to).unwrap();
        assert_eq!(OsDisk.read(&to).unwrap(), b"content");
        assert_ne!(
            OsDisk.stat(&from).unwrap().ino,
            OsDisk.stat(&to).unwrap().ino
        );
        assert!(OsDisk.copy(&from, &to).is_err(), "it never overwrites");
    }

    #[test]
    fn a_lock_is_held_once_and_free_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = |place| OsDisk.lock(&path, place, LockWait::Try).unwrap();
        let held = OsDisk.lock(&path, 7, LockWait::Block).unwrap().unwrap();
        assert!(lock(7).is_none());
        assert!(lock(8).is_some() && lock((1 << 62) - 1).is_some());
        drop(held);
        assert!(lock(7).is_some());
        assert_eq!(OsDisk.stat(&path).unwrap().size, 0);
    }

    #[test]
    fn who_waits_for_a_lock_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = OsDisk.lock(&path, 1, LockWait::Block).unwrap().unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| OsDisk.lock(&path, 1, LockWait::Block).unwrap().is_some());
            drop(held);
            assert!(other.join().unwrap());
        });
    }

    #[test]
    fn a_lock_ends_although_a_child_has_a_copy_of_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = File::create(&path).unwrap();
        let copy = file.try_clone().unwrap();
        let byte = Byte { file, place: 1 };
        byte.lock(LockWait::Try).unwrap();
        let lock = || OsDisk.lock(&path, 1, LockWait::Try).unwrap();
        assert!(lock().is_none());
        drop(byte);
        assert!(lock().is_some());
        drop(copy);
    }

    #[test]
    fn the_clock_is_that_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let time = OsDisk.clock(&dir.path().join("clock")).unwrap();
        OsDisk
            .write_atomic(&dir.path().join("later"), b"x")
            .unwrap();
        let later = OsDisk.stat(&dir.path().join("later")).unwrap();
        assert_eq!(time.dev, later.dev);
        assert!(later.mtime_ns >= time.ns);
    }
}
