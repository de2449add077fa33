//! The messages of a channel that brings contexts are `Carried`, which is told where it is made.

use aiocontextvars::channel;
use futures::channel::mpsc;

fn main() {
    let (sender, receiver) = channel::carrying(mpsc::channel::<u8>(4));
    drop((sender, receiver));
}
