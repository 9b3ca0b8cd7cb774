//! What a file system's type says of its events: [`Telling`].
//!
//! The system tells of what is done through this machine's own kernel, on every file system; of
//! what another machine, or a server in user space, does to the same files it tells nothing. No
//! cookie can find that out: one that we write comes back, being done here. So the types are
//! known by name, and only one that is not known is tried. See `docs/design/watch.md`.

use std::path::Path;

/// Of which changes on a file system the system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Of all: nobody else can change it.
    All,
    /// Only of those made here.
    Ours,
    /// The type is not known.
    Unknown,
}

/// What the type of the mount that `path` lies on says.
pub(crate) fn telling(path: &Path) -> Telling {
    let Ok(stat) = rustix::fs::statfs(path) else {
        return Telling::Unknown;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the magic numbers have 32 bits, whatever the field"
    )]
    let magic = stat.f_type as u32;
    of_type(magic)
}

fn of_type(magic: u32) -> Telling {
    match magic {
        0xef53 // ext2, ext3, ext4
        | 0x5846_5342 // XFS
        | 0x9123_683e // Btrfs
        | 0xca45_1a4e // bcachefs
        | 0x2fc1_2fc1 // ZFS
        | 0xf2f5_2010 // F2FS
        | 0x0102_1994 // tmpfs
        | 0x794c_7630 // overlayfs: the layers below are not to be changed
        | 0x3153_464a // JFS
        | 0x5265_4973 // ReiserFS
        | 0x4d44 // FAT
        | 0x2011_bab0 // exFAT
        | 0x7366_746e // NTFS
        | 0x9660 // ISO 9660
        | 0x1501_3346 // UDF
        | 0x7371_7368 // SquashFS
        | 0xe0f5_e1e2 // EROFS
        => Telling::All,
        0x6969 // NFS
        | 0xff53_4d42 // CIFS
        | 0xfe53_4d42 // SMB2
        | 0x517b // SMB
        | 0x0102_1997 // 9p: hypervisors, WSL, gVisor
        | 0x6573_5546 // FUSE (also sshfs, container desktops) and virtiofs
        | 0x786f_4256 // VirtualBox shares
        | 0xbacb_acbc // VMware shares
        | 0x7c7c_6673 // Parallels shares
        | 0x00c0_ffee // the host's files under User Mode Linux
        | 0x00c3_6400 // Ceph
        | 0x5346_414f // AFS
        | 0x6b41_4653 // AFS, the kernel's own
        | 0x7375_7245 // Coda
        | 0x564c // NCP
        | 0x0bd0_0bd0 // Lustre
        | 0x1983_0326 // BeeGFS
        | 0x4750_4653 // GPFS
        | 0x0116_1970 // GFS2
        | 0x7461_636f // OCFS2
        | 0xaad7_aaea // PanFS
        => Telling::Ours,
        _ => Telling::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_types_tell_all_foreign_ones_what_is_ours_and_others_are_to_be_tried() {
        // Each number as `stat -f -c %t` prints it.
        let check = |expected, magics: &[u32]| {
            for &magic in magics {
                assert_eq!(of_type(magic), expected, "{magic:x}");
            }
        };
        let (ext, xfs, btrfs, tmpfs, overlay) =
            (0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630);
        check(Telling::All, &[ext, xfs, btrfs, tmpfs, overlay]);
        let (nfs, cifs, smb2, plan9, fuse) =
            (0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x6573_5546);
        check(Telling::Ours, &[nfs, cifs, smb2, plan9, fuse]);
        let (ramfs, wsl, unheard_of) = (0x8584_58f6, 0x5346_4846, 0x1234_5678);
        check(Telling::Unknown, &[ramfs, wsl, unheard_of]);
    }

    #[test]
    fn what_the_system_itself_is_made_of_is_asked_by_path() {
        assert_eq!(telling(Path::new("/nonexistent")), Telling::Unknown);
        if Path::new("/dev/shm").is_dir() {
            assert_eq!(telling(Path::new("/dev/shm")), Telling::All);
        }
    }
}
