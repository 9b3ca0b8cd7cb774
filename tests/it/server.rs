//! A small server for services to run: this test program once more, at a port of its own.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, fs};

use crate::support::DEADLINE;

/// Where the program is to serve; without it, the test below does nothing.
const SERVE: &str = "WATCHRUN_IT_SERVE";

/// A port that nobody listens on, and how to serve there.
pub(crate) struct Server {
    port: u16,
}

impl Server {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        Self { port }
    }

    pub(crate) fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The keys `run` and `env` of a service. It says `listening`, and answers with what the file
    /// `out` held when it started.
    pub(crate) fn keys(&self) -> String {
        let program = env::current_exe().expect("this program");
        format!(
            "run = [\"{}\", \"--exact\", \"server::serves_when_told\", \"--nocapture\"]\n\
             env = {{ {SERVE} = \"{}\" }}\n",
            program.display(),
            self.addr()
        )
    }

    /// What it answers; `None` when nobody does.
    pub(crate) fn ask(&self) -> Option<String> {
        let mut stream = TcpStream::connect(self.addr()).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }
}

#[test]
fn serves_when_told() {
    let Ok(addr) = env::var(SERVE) else { return };
    let content = fs::read_to_string("out").unwrap_or_default();
    let listener = match TcpListener::bind(&addr) {
        Ok(listener) => listener,
        Err(error) => {
            drop(writeln!(io::stdout(), "cannot listen: {error}"));
            return;
        }
    };
    drop(writeln!(io::stdout(), "listening"));
    for stream in listener.incoming().flatten() {
        answer(stream, &content);
    }
}

/// Answers one request. Who asks may be gone already.
fn answer(mut stream: TcpStream, content: &str) {
    drop(stream.set_read_timeout(Some(Duration::from_secs(5))));
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        request.push(byte[0]);
    }
    if !request.is_empty() {
        let head = format!("HTTP/1.0 200 OK\r\ncontent-length: {}", content.len());
        drop(write!(stream, "{head}\r\n\r\n{content}"));
    }
}
