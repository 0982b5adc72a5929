"""Hostile Ethernet frames for the boot tests: random ones, and mutations of captured RoCE traffic, from a seed."""
import glob
import os
import random
import struct
import zlib

CAPTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../wire/*.pcap")


def captured():
    """The frames of tests/wire's captures: connection management, SEND, READ, WRITE, acknowledgements."""
    frames = []
    for path in sorted(glob.glob(CAPTURES)):
        with open(path, "rb") as f:
            data = f.read()
        at = 24
        while at + 16 <= len(data):
            size = struct.unpack_from("<I", data, at + 8)[0]
            frames.append(data[at + 16:at + 16 + size])
            at += 16 + size
    return frames


def ip_checksum(header):
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def icrc(frame):
    """IBTA 7.8.1 and annex A17: over what does not change on the way."""
    b = bytearray(frame[14:-4])
    b[1] = b[8] = 0xff
    b[10:12] = b[26:28] = b"\xff\xff"
    b[32] = 0xff
    return struct.pack("<I", zlib.crc32(b"\xff" * 8 + bytes(b)))


def mac(address):
    return bytes([2, 0x54, 0x45, 0x53, *address[2:]])


def readdressed(frame, source, target, dice):
    """A captured frame as if it went between these two addresses; its checks are right."""
    b = bytearray(frame)
    b[0:6], b[6:12] = mac(target), mac(source)
    b[26:30], b[30:34] = source, target
    if b[23] == 17 and len(b) > 62 and b[36:38] == b"\x12\xb7":
        if b[42] == 0x64 and b[78:80] == b"\x00\x10":  # a connection request: also to Tessera's own services
            struct.pack_into(">H", b, 100, dice.choice((7174, 7470, 7471)))
            b[242:246], b[258:262] = source, target  # in rdma_cm's header
    b[24:26] = b"\0\0"
    b[24:26] = struct.pack(">H", ip_checksum(bytes(b[14:34])))
    if len(b) > 58:
        b[-4:] = icrc(bytes(b))
    return bytes(b)


def hostile(seed, count, source, target):
    """`count` frames from address `source` to `target` (four bytes each)."""
    dice = random.Random(seed)
    good = [f for f in captured() if len(f) >= 58 and f[12:14] == b"\x08\x00"]
    head = mac(target) + mac(source)

    def noise(most):
        return dice.randbytes(dice.randrange(most))

    def flipped(frame, first):
        b = bytearray(frame)
        for _ in range(dice.choice((1, 1, 2, 4, 16))):
            b[dice.randrange(min(first, len(b) - 1), len(b))] = dice.randrange(256)
        return bytes(b)

    def roce():
        frame = readdressed(dice.choice(good), source, target, dice)
        how = dice.randrange(5)
        if how == 0:  # as it was, to connections that are not there
            return frame
        if how == 1:  # the check does not fit
            return flipped(frame, 42)
        if how == 2:  # cut short, with the old lengths
            return frame[:dice.randrange(14, len(frame))]
        frame = bytearray(flipped(frame, 42))  # another content, with a right check
        if how == 4:  # and a queue pair that might be there
            frame[47:50] = dice.choice((b"\0\0\1", b"\0\0\x11", dice.randbytes(3)))
        frame[-4:] = icrc(bytes(frame))
        return bytes(frame)

    def ip():
        body = noise(200)
        header = bytearray(struct.pack(">BBHHHBBH", dice.choice((0x45, 0x45, 0x40, 0x46, 0x4f, 0x65)), 0,
                                       dice.choice((20 + len(body), dice.randrange(65536), 0)), 1,
                                       dice.choice((0, 0, 0x2000, 0x1fff)), 64, dice.choice((1, 6, 17, 17)), 0))
        header += source + target
        if dice.random() < 0.7:
            header[10:12] = struct.pack(">H", ip_checksum(bytes(header)))
        return head + b"\x08\x00" + bytes(header) + body

    def arp():
        body = bytearray(struct.pack(">HHBBH", 1, 0x0800, 6, 4, dice.choice((1, 2, 3))) + mac(source) + source +
                         mac(target) + target)
        if dice.random() < 0.7:
            body[dice.randrange(8)] = dice.randrange(256)
        return head + b"\x08\x06" + bytes(body)[:dice.choice((28, 28, dice.randrange(28)))]

    kinds = (roce, roce, roce, roce, ip, arp, lambda: head + dice.randbytes(2) + noise(1500))
    return [dice.choice(kinds)() for _ in range(count)]
