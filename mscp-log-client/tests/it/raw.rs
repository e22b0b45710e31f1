//! A server below HTTP: it may never answer, cut a connection in the middle of
//! an answer, and speak TLS. Each connection has a thread.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) key: String,
    pub(crate) authorization: String,
    pub(crate) body: Value,
}

impl Came {
    pub(crate) fn messages(&self) -> Vec<&str> {
        let records = self.body.as_array().unwrap();
        records
            .iter()
            .map(|record| record["message"].as_str().unwrap())
            .collect()
    }
}

pub(crate) enum Act {
    /// 202, and all accepted.
    Accept,
    /// A status, headers each with its line's end, a body.
    Answer(u16, &'static str, String),
    /// Reads, and never answers.
    Hang,
    /// Part of a good answer, then the end of the connection.
    Cut,
}

type Script = dyn Fn(&Came, usize) -> Act + Send + Sync;

#[derive(Clone)]
pub(crate) struct Raw {
    address: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    came: Arc<Mutex<Vec<Came>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    script: Arc<Script>,
}

impl Raw {
    /// `script` gets each request and how many came before it.
    pub(crate) fn start(script: impl Fn(&Came, usize) -> Act + Send + Sync + 'static) -> Raw {
        Raw::start_with(None, script)
    }

    pub(crate) fn start_with(
        tls: Option<Arc<rustls::ServerConfig>>,
        script: impl Fn(&Came, usize) -> Act + Send + Sync + 'static,
    ) -> Raw {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let raw = Raw {
            address: listener.local_addr().unwrap(),
            tls,
            came: Arc::default(),
            open: Arc::default(),
            script: Arc::new(script),
        };
        let server = raw.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let server = server.clone();
                server
                    .open
                    .lock()
                    .unwrap()
                    .push(stream.try_clone().unwrap());
                std::thread::spawn(move || server.serve(stream));
            }
        });
        raw
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.address.port())
    }

    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    fn serve(&self, stream: TcpStream) {
        // What fails here is the client's end of a connection.
        let _ended = match &self.tls {
            None => self.talk(stream),
            Some(tls) => rustls::ServerConnection::new(Arc::clone(tls))
                .map_err(std::io::Error::other)
                .and_then(|session| self.talk(rustls::StreamOwned::new(session, stream))),
        };
    }

    fn talk(&self, stream: impl Read + Write) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut key, mut authorization, mut length) = (String::new(), String::new(), 0);
            let mut line = String::new();
            loop {
                line.clear();
                if stream.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let Some((name, value)) = line.trim_end().split_once(": ") else {
                    if line == "\r\n" {
                        break;
                    }
                    continue;
                };
                match name.to_ascii_lowercase().as_str() {
                    "idempotency-key" => value.clone_into(&mut key),
                    "authorization" => value.clone_into(&mut authorization),
                    "content-length" => length = value.parse().unwrap(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body)?;
            let came = Came {
                key,
                authorization,
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let before = {
                let mut all = self.came.lock().unwrap();
                all.push(came.clone());
                all.len() - 1
            };
            let accepted = came.body.as_array().map_or(0, Vec::len);
            let accepted = format!("{{\"accepted\": {accepted}, \"batch\": \"b\"}}");
            let (status, headers, body) = match (self.script)(&came, before) {
                Act::Accept => (202, "", accepted),
                Act::Answer(status, headers, body) => (status, headers, body),
                Act::Hang => {
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest)?;
                    return Ok(());
                }
                Act::Cut => {
                    let whole = accepted.len() + 10;
                    let head = format!("HTTP/1.1 202 Accepted\r\ncontent-length: {whole}\r\n\r\n");
                    stream.get_mut().write_all(head.as_bytes())?;
                    stream.get_mut().write_all(&accepted.as_bytes()[..5])?;
                    stream.get_mut().flush()?;
                    self.hang_up();
                    return Ok(());
                }
            };
            let answer = format!(
                "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.get_mut().write_all(answer.as_bytes())?;
            stream.get_mut().flush()?;
        }
    }

    /// Ends all connections.
    pub(crate) fn hang_up(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _may_be_gone = stream.shutdown(Shutdown::Both);
        }
    }
}
