//! Blocking questions to the kernel by netlink, for callers without a runtime.

use std::fmt::Debug;
use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// A netlink socket, one question at a time.
#[derive(Debug)]
pub(crate) struct Conversation {
    socket: Socket,
    sequence: u32,
    /// The last datagram.
    heard: Vec<u8>,
}

/// The kernel's datagrams are no longer than 32 KB.
const DATAGRAM: usize = 64 << 10;

impl Conversation {
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, heard: Vec::with_capacity(DATAGRAM) })
    }

    /// Asks, and collects what is answered until the acknowledgement or the end of the dump.
    pub(crate) fn ask<Q, A>(&mut self, question: Q, flags: u16) -> io::Result<Vec<A>>
    where
        Q: NetlinkSerializable,
        NetlinkMessage<Q>: From<Q>,
        A: NetlinkDeserializable + Debug,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(question);
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            self.hear()?;
            if self.read(flags & NLM_F_DUMP == NLM_F_DUMP, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    fn hear(&mut self) -> io::Result<()> {
        self.heard.clear();
        self.socket.recv(&mut self.heard, 0).map(drop)
    }

    /// Says several things at once, in one datagram. Returns what became of each, in their order: the kernel goes on
    /// behind one that it refuses. It tells of those, and, because it is asked to, of the last.
    pub(crate) fn tell<Q>(&mut self, messages: Vec<(Q, u16)>) -> io::Result<Vec<io::Result<()>>>
    where
        Q: NetlinkSerializable + NetlinkDeserializable + Debug,
        NetlinkMessage<Q>: From<Q>,
    {
        let first = self.sequence.wrapping_add(1);
        let count = messages.len();
        let mut bytes = Vec::with_capacity(1024);
        for (number, (message, flags)) in (1..).zip(messages) {
            self.sequence = self.sequence.wrapping_add(1);
            let mut message = NetlinkMessage::from(message);
            message.header.flags = NLM_F_REQUEST | flags | if number == count { NLM_F_ACK } else { 0 };
            message.header.sequence_number = self.sequence;
            message.finalize();
            let begin = bytes.len();
            bytes.resize((begin + message.buffer_len()).next_multiple_of(4), 0);
            message.serialize(&mut bytes[begin..]);
        }
        self.socket.send(&bytes, 0)?;

        let mut outcomes: Vec<io::Result<()>> = std::iter::repeat_with(|| Ok(())).take(count).collect();
        let mut complete = count == 0;
        while !complete {
            self.hear()?;
            for_each::<Q>(&self.heard, |message| {
                let number = message.header.sequence_number.wrapping_sub(first) as usize;
                if let (Some(outcome), NetlinkPayload::Error(error)) =
                    (outcomes.get_mut(number), message.payload)
                {
                    *outcome = if error.code.is_some() { Err(error.to_io()) } else { Ok(()) };
                    complete |= number + 1 == count;
                }
            })?;
        }
        Ok(outcomes)
    }

    /// Reads the messages of one datagram; true if the answer is complete.
    fn read<A>(&self, dump: bool, answers: &mut Vec<A>) -> io::Result<bool>
    where
        A: NetlinkDeserializable + Debug,
    {
        let (mut complete, mut failed) = (false, None);
        for_each::<A>(&self.heard, |message| {
            // What is left of an earlier question that failed half way is not ours.
            if message.header.sequence_number != self.sequence {
                return;
            }
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    failed = failed.take().or(Some(error))
                }
                NetlinkPayload::Error(_) if !dump => complete = true,
                NetlinkPayload::Done(_) => complete = true,
                _ => {}
            }
        })?;
        failed.map_or(Ok(complete), |error| Err(error.to_io()))
    }
}

/// Takes in the messages of a datagram.
fn for_each<A>(datagram: &[u8], mut take: impl FnMut(NetlinkMessage<A>)) -> io::Result<()>
where
    A: NetlinkDeserializable + Debug,
{
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<A>::deserialize(rest).map_err(io::Error::other)?;
        let len = (message.header.length as usize).next_multiple_of(4);
        take(message);
        rest = rest.get(len.max(1)..).unwrap_or_default();
    }
    Ok(())
}
