//! A stream of UDP packets, one after the other, slow enough that nobody's queue overflows.
//!
//! For kernels without live frames (before 5.18), where `pps` can't flood, and for emulated
//! CPUs, where it would only show that a queue is full.

use std::{
    io,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

/// Sends packets of one byte to `to` for `seconds`; how many.
pub fn send(to: &str, seconds: u64) -> io::Result<u64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let (mut sent, began) = (0, Instant::now());
    while began.elapsed() < Duration::from_secs(seconds) {
        match socket.send_to(b".", to) {
            Ok(_) => sent += 1,
            // What the chain at our own end dropped was sent all the same: it reached the chain.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => sent += 1,
            Err(error) => return Err(error),
        }
        thread::sleep(Duration::from_micros(300));
    }
    Ok(sent)
}
