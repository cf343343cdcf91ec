#!/usr/bin/python3
"""The bytes behind the frames of the packet tables, made and checked by scapy.

    frames.py FILE...            writes the bytes of every expression into the tables
    frames.py --check FILE...    changes nothing: says which bytes are not those of their expression, and
                                 which checksums are wrong
    frames.py --pcap OUT FILE... collects all frames in a capture, for tshark and the like

README.md has the format of a table. Here only this of it matters: below a line that begins with
"in", "out" or "upcall" stand indented lines, an expression and then its bytes in hexadecimal.

Checksums are checked without looking at the expression: the bytes are dissected, checksum fields
deleted, the frame built anew and compared. A checksum that covers bytes which are not in the frame (a
fragment, an IP length that says more than there is) can be neither right nor wrong and is left alone.
"""
import re
import sys

from scapy.all import *  # noqa: F403 - expressions may use all of it
from scapy.contrib.mpls import MPLS
from scapy.contrib.nsh import NSH

# ------------------------------------------------------------------ the vocabulary of expressions

A = '02:00:00:00:00:01'  # who sends
B = '02:00:00:00:00:02'  # who receives
C = '02:00:00:00:00:03'  # anybody else
D = '02:00:00:00:00:04'


def eth(src=A, dst=B, **fields):
    return Ether(src=src, dst=dst, **fields)


def vlan(vid, pcp=0, cfi=0, **fields):
    return Dot1Q(vlan=vid, prio=pcp, id=cfi, **fields)


def svlan(vid, pcp=0, cfi=0, **fields):
    """A tag with TPID 0x88a8."""
    return Dot1AD(vlan=vid, prio=pcp, id=cfi, **fields)


def ipv4(src='10.0.0.1', dst='10.0.0.2', ttl=64, id=1, **fields):
    return IP(src=src, dst=dst, ttl=ttl, id=id, **fields)


def ipv6(src='fd00::1', dst='fd00::2', hlim=64, **fields):
    return IPv6(src=src, dst=dst, hlim=hlim, **fields)


def options(n):
    """So many headers of destination options, which say nothing."""
    headers = IPv6ExtHdrDestOpt()
    for _ in range(n - 1):
        headers = headers / IPv6ExtHdrDestOpt()
    return headers


def tcp(sport=1000, dport=2000, flags='A', seq=1, ack=1, **fields):
    return TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack, **fields)


def udp(sport=1000, dport=2000, **fields):
    return UDP(sport=sport, dport=dport, **fields)


def sctp(sport=1000, dport=2000, tag=1, **fields):
    return SCTP(sport=sport, dport=dport, tag=tag, **fields)


def ping(type=8, code=0, id=1, seq=1, **fields):
    return ICMP(type=type, code=code, id=id, seq=seq, **fields)


def ping6(id=1, seq=1, **fields):
    return ICMPv6EchoRequest(id=id, seq=seq, **fields)


def solicit(target, **fields):
    return ICMPv6ND_NS(tgt=target, **fields)


def advertise(target, R=0, S=0, O=0, **fields):
    return ICMPv6ND_NA(tgt=target, R=R, S=S, O=O, **fields)


def sll(address):
    """The option with the link-layer address of the sender of a solicitation."""
    return ICMPv6NDOptSrcLLAddr(lladdr=address)


def tll(address):
    """The option with the link-layer address of the target of an advertisement."""
    return ICMPv6NDOptDstLLAddr(lladdr=address)


def arp(op=1, sha=A, sip='10.0.0.1', tha='00:00:00:00:00:00', tip='10.0.0.2', **fields):
    return ARP(op=op, hwsrc=sha, psrc=sip, hwdst=tha, pdst=tip, **fields)


def mpls(label, tc=0, ttl=64, bos=1):
    return MPLS(label=label, cos=tc, ttl=ttl, s=bos)


def nsh(ttl=63, np=3, spi=0x20, si=255, c1=0, c2=0, c3=0, c4=0, **fields):
    """A network service header with metadata of type 1."""
    context = b''.join(c.to_bytes(4, 'big') for c in (c1, c2, c3, c4))
    fields = {'mdtype': 1, 'length': 6, 'context_header': context, **fields}
    return NSH(ttl=ttl, nextproto=np, spi=spi, si=si, **fields)


def data(n=6):
    """n bytes of payload, no two neighbours alike."""
    return Raw(bytes(i & 0xff for i in range(n)))


def raw(text):
    """Bytes as they are, in hexadecimal."""
    return Raw(bytes.fromhex(text))


def pad(frame, n):
    """Zeros behind the frame, as Ethernet adds them, until it has n bytes."""
    return Raw(bytes(frame).ljust(n, b'\0'))


def cut(frame, n):
    """The first n bytes."""
    return Raw(bytes(frame)[:n])


def poke(frame, at, text):
    """Other bytes at an offset."""
    built, other = bytearray(bytes(frame)), bytes.fromhex(text)
    built[at:at + len(other)] = other
    return Raw(bytes(built))


def flip(frame, at, mask):
    """The bits of a mask the other way round, at an offset."""
    old = bytes(frame)[at:at + len(bytes.fromhex(mask))]
    return poke(frame, at, bytes(a ^ b for a, b in zip(old, bytes.fromhex(mask))).hex())


class Bad(bytes):
    """A frame with a wrong checksum."""


def bad(frame):
    """The frame as it is, in which some checksum is wrong on purpose."""
    return Bad(bytes(frame))


def fragment(datagram, start, size):
    """The fragment of a datagram that carries `size` bytes of its IP payload from `start` on."""
    head = datagram.copy()
    if IP in head:
        built = IP(bytes(head[IP]))
        payload = bytes(head[IP])[built.ihl * 4:][:built.len - built.ihl * 4]
        head[IP].remove_payload()
        head[IP].proto = built.proto
        head[IP].frag = start // 8
        head[IP].flags = 'MF' if start + size < len(payload) else 0
        return head / Raw(payload[start:start + size])
    built = IPv6(bytes(head[IPv6]))
    payload = bytes(head[IPv6])[40:][:built.plen]
    head[IPv6].remove_payload()
    more = int(start + size < len(payload))
    header = IPv6ExtHdrFragment(nh=built.nh, offset=start // 8, m=more, id=1)
    return head / header / Raw(payload[start:start + size])


# ------------------------------------------------------------------------------------- checksums

FIELDS = ('chksum', 'cksum')


def covered(layer, length):
    """Whether an IP packet's layer 4 checksum covers `length` bytes that are all here."""
    if isinstance(layer, IP):
        fragment = layer.frag or layer.flags.MF
        return not fragment and layer.ihl * 4 <= layer.len <= length
    return layer.plen + 40 <= length and not any(
        isinstance(below, IPv6ExtHdrFragment) and (below.offset or below.m)
        for below in layers(layer))


def layers(packet):
    while packet and not isinstance(packet, NoPayload):
        yield packet
        packet = packet.payload


def recomputed(frame):
    """The frame with its checksums computed anew, and how many there are."""
    if len(frame) < 14:
        return frame, 0
    packet = Ether(frame)
    length = len(frame)
    whole = over_ipv4 = True
    checksums = 0
    for layer in list(layers(packet)):
        if isinstance(layer, (IP, IPv6)):
            over_ipv4 = isinstance(layer, IP)
            whole = covered(layer, length)
        if isinstance(layer, TCP):
            whole = whole and 20 <= layer.dataofs * 4 <= length
        field = next((name for name in FIELDS if name in layer.fields), None)
        if field is not None and (whole or isinstance(layer, IP)):
            none = isinstance(layer, UDP) and over_ipv4 and layer.chksum == 0
            if not none:
                layer.delfieldval(field)
                checksums += 1
        length -= len(layer) - len(layer.payload)
    return bytes(packet), checksums


# ---------------------------------------------------------------------------------------- tables

FRAME_OF = re.compile(r'(in|out|upcall)\b')
HEX = re.compile(r'[0-9a-f]{2,4}( [0-9a-f]{2,4})*$')
INDENT = '    '


def hex_lines(frame):
    words = [frame[i:i + 2].hex() for i in range(0, len(frame), 2)]
    return [INDENT + ' '.join(words[i:i + 16]) for i in range(0, len(words), 16)]


class Block:
    """An expression with the bytes below it. `start` and `end` are lines: [expression, bytes)."""

    def __init__(self, lines, start):
        self.start = start
        end = start
        while self.indented(lines, end) and not HEX.match(lines[end].strip()):
            end += 1
        self.text = ' '.join(line.strip() for line in lines[start:end])
        self.bytes_at = end
        while self.indented(lines, end) and HEX.match(lines[end].strip()):
            end += 1
        self.bytes = bytes.fromhex(''.join(lines[self.bytes_at:end]))
        self.end = end

    @staticmethod
    def indented(lines, i):
        return i < len(lines) and lines[i].startswith(' ') and lines[i].strip() != ''

    def frame(self):
        value = eval(self.text, globals())  # noqa: S307 - our own files
        return value if isinstance(value, bytes) else bytes(value)


def blocks(lines):
    for i, line in enumerate(lines):
        if FRAME_OF.match(line) and Block.indented(lines, i + 1):
            yield Block(lines, i + 1)


def problems(block):
    """What is wrong with a block, and how many checksums were looked at."""
    frame = block.frame()
    if frame != block.bytes:
        return ['these are not the bytes of the expression'], 0
    try:
        again, checksums = recomputed(frame)
    except Exception as error:
        return [f'scapy cannot rebuild the frame: {error!r}'], 0
    if isinstance(frame, Bad):
        return ([] if again != frame else ['bad() says that a checksum is wrong; all are right']), 0
    if again != frame:
        return [f'a checksum is wrong, or the frame is not what it seems; scapy has {again.hex()}'], 0
    return [], checksums


def update(path):
    with open(path, encoding='utf8') as file:
        before = file.read().split('\n')
    after = list(before)
    for block in reversed(list(blocks(before))):
        after[block.bytes_at:block.end] = hex_lines(block.frame())
    if after != before:
        with open(path, 'w', encoding='utf8') as file:
            file.write('\n'.join(after))
    return after != before


def main(arguments):
    check = arguments[:1] == ['--check']
    pcap = arguments[1] if arguments[:1] == ['--pcap'] else None
    paths = arguments[2 if pcap else 1 if check else 0:]
    count = checksums = wrong = written = 0
    frames = []
    for path in paths:
        try:
            if not check and not pcap:
                written += update(path)
            with open(path, encoding='utf8') as file:
                lines = file.read().split('\n')
            for block in blocks(lines):
                count += 1
                frames.append(block.bytes)
                found, seen = problems(block)
                checksums += seen
                wrong += len(found)
                for problem in found:
                    print(f'{path}:{block.start + 1}: {problem}')
        except Exception as error:
            wrong += 1
            print(f'{path}: {error!r}')
    if pcap:
        with RawPcapWriter(pcap, linktype=1) as writer:
            for frame in frames:
                writer.write(frame)
    changed = '' if check else f', {written} tables written'
    print(f'{count} frames in {len(paths)} tables, {checksums} checksums right{changed}')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
