//! A mount whose files change elsewhere: [`RemoteFiles`], the least FUSE server that will do.
//!
//! One directory with one file `f`, which no call on the mount changes but [`RemoteFiles::change`],
//! as another machine would. New directories can be asked for; they are said to be made.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the files of the mount are like; its server ends with the mount.
pub(crate) struct RemoteFiles {
    version: Arc<AtomicU64>,
}

const TOP: u64 = 1;
const FILE: u64 = 2;
const MADE: u64 = 3;

impl RemoteFiles {
    /// Mounts it at `at`; `None` where that is not allowed.
    pub(crate) fn mount(at: &Path) -> Option<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.ok()?;
        // For `mount` alone: nobody else is started meanwhile.
        rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::empty()).ok()?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&device);
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o"])
            .arg(format!("fd={fd},rootmode=40000,user_id=0,group_id=0"))
            .arg("remote")
            .arg(at)
            .status();
        rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::CLOEXEC).ok()?;
        if !mounted.ok()?.success() {
            return None;
        }
        let version = Arc::new(AtomicU64::new(1));
        let own = Arc::clone(&version);
        std::thread::spawn(move || serve(device, &own));
        Some(Self { version })
    }

    /// Changes the file, behind the back of whoever has mounted it.
    pub(crate) fn change(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
    }
}

/// Answers until the mount is gone.
fn serve(mut device: File, version: &AtomicU64) {
    let mut request = vec![0; 256 * 1024];
    while let Ok(len) = device.read(&mut request) {
        let request = &request[..len];
        let Some(answer) = answer(request, version.load(Ordering::SeqCst)) else {
            continue;
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let len = u32::try_from(16 + body.len()).unwrap();
        let mut reply = [len.to_ne_bytes(), error.to_ne_bytes()].concat();
        reply.extend(&request[8..16]);
        reply.extend(body);
        // Who asked may have given up.
        drop(device.write(&reply));
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The body of an answer, or an error number; `None` where none is expected.
fn answer(request: &[u8], version: u64) -> Option<Result<Vec<u8>, i32>> {
    const NOT_THERE: i32 = 2;
    const NOT_KNOWN: i32 = 38;
    let (opcode, node, input) = (u32_at(request, 4), u64_at(request, 16), &request[40..]);
    Some(match opcode {
        // LOOKUP
        1 if input == b"f\0" => Ok(entry(FILE, version)),
        1 => Err(NOT_THERE),
        // GETATTR: valid for no time at all.
        3 => Ok([vec![0; 16], attributes(node, version)].concat()),
        // MKDIR
        9 => Ok(entry(MADE, version)),
        // STATFS
        17 => Ok(vec![0; 80]),
        // INIT: version 7.31, nothing special.
        26 => Ok([words(&[7, 31, 0, 0, 0, 4096]), vec![0; 40]].concat()),
        // OPENDIR
        27 => Ok(vec![0; 16]),
        // READDIR
        28 if node == TOP && u64_at(input, 8) == 0 => {
            let numbers = [FILE.to_ne_bytes(), 1_u64.to_ne_bytes()].concat();
            Ok([numbers, words(&[1, 8]), b"f\0\0\0\0\0\0\0".to_vec()].concat())
        }
        // Its end; RELEASEDIR
        28 | 29 => Ok(Vec::new()),
        // FORGET, INTERRUPT, BATCH_FORGET
        2 | 36 | 42 => return None,
        _ => Err(NOT_KNOWN),
    })
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn entry(node: u64, version: u64) -> Vec<u8> {
    let mut out = node.to_ne_bytes().to_vec();
    out.extend([0; 32]);
    out.extend(attributes(node, version));
    out
}

fn attributes(node: u64, version: u64) -> Vec<u8> {
    let (mode, time) = match node {
        FILE => (0o100_644, version),
        _ => (0o040_755, 1),
    };
    let numbers = [node, time, 1, time, time, time];
    let mut out: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
    out.extend(words(&[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0]));
    out
}
