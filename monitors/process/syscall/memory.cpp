// mmap and its family: flags become a MapRequest; the work is AddressSpace's.
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {
namespace {

Result<Protection> protection_of(uint32_t bits) {
    if (bits & ~(7u | 0x01000000u | 0x02000000u)) return Fail(Error::InvalidArgument);
    return static_cast<Protection>(bits & 7); // the same three bits
}

} // namespace

Answer sys_mmap(Task& t, UserAddress address, uint64_t length, uint32_t protection, uint32_t flags,
                int fd, uint64_t offset) {
    constexpr uint32_t kShared = 1, kPrivate = 2, kValidate = 3, kFixed = 0x10, kAnonymous = 0x20,
                       kGrowsDown = 0x100, kPopulate = 0x8000, kNoReplace = 0x100000;
    MapRequest m;
    m.address = address;
    m.length = length;
    m.protection = TRY(protection_of(protection));
    uint32_t type = flags & 3;
    if (type != kShared && type != kPrivate && type != kValidate)
        return Fail(Error::InvalidArgument);
    if (length == 0 || offset % kPageSize) return Fail(Error::InvalidArgument);
    if (length > kUserEnd) return Fail(Error::NoMemory);
    m.sharing = type == kPrivate ? Sharing::Private : Sharing::Shared;
    if (flags & (kFixed | kNoReplace)) {
        m.place = flags & kNoReplace ? MapPlace::FixedNoReplace : MapPlace::Fixed;
        if (address % kPageSize) return Fail(Error::InvalidArgument);
        if (address > kUserEnd - length) return Fail(Error::NoMemory);
        if (address < 0x10000) return Fail(Error::NotPermitted); // mmap_min_addr
    } else {
        m.address = align_down(address, kPageSize);
    }
    m.grows_down = flags & kGrowsDown;
    m.populate = flags & kPopulate;
    Ref<Description> d;
    if (!(flags & kAnonymous)) {
        d = TRY(descriptor(t, fd));
        if (!d->readable()) return Fail(Error::AccessDenied);
        bool writes = m.sharing == Sharing::Shared && allows(m.protection, Protection::Write);
        if (writes && !d->writable()) return Fail(Error::AccessDenied);
        m.file = d->mappable();
        m.offset = offset;
        m.name = d->where().path.c_str();
        bool zero = d->kind() == ObjectKind::Device; // /dev/zero: anonymous memory
        if (!m.file && !zero) return Fail(Error::NoDevice);
    }
    return static_cast<long>(TRY(t.space().map(m)));
}

Answer sys_munmap(Task& t, UserAddress address, uint64_t length) {
    if (address % kPageSize || length == 0 || address > kUserEnd || length > kUserEnd - address)
        return Fail(Error::InvalidArgument);
    TRY(t.space().unmap(address, align_up(length, kPageSize)));
    return 0;
}

Answer sys_mprotect(Task& t, UserAddress address, uint64_t length, uint32_t protection) {
    Protection p = TRY(protection_of(protection));
    if (address % kPageSize) return Fail(Error::InvalidArgument);
    if (length == 0) return 0;
    if (address > kUserEnd || length > kUserEnd - address) return Fail(Error::NoMemory);
    TRY(t.space().protect(address, align_up(length, kPageSize), p));
    return 0;
}

Answer sys_mremap(Task& t, UserAddress address, uint64_t old_length, uint64_t new_length,
                  uint32_t flags, UserAddress to) {
    constexpr uint32_t kMayMove = 1, kFixed = 2;
    if ((flags & ~3u) || ((flags & kFixed) && !(flags & kMayMove)) || address % kPageSize ||
        new_length == 0 || ((flags & kFixed) && to % kPageSize) || new_length > kUserEnd ||
        old_length > kUserEnd)
        return Fail(Error::InvalidArgument);
    return static_cast<long>(TRY(t.space().remap(address, align_up(old_length, kPageSize),
                                                 align_up(new_length, kPageSize), flags & kMayMove,
                                                 flags & kFixed, to)));
}

Answer sys_madvise(Task& t, UserAddress address, uint64_t length, int advice) {
    if (address % kPageSize || address > kUserEnd || length > kUserEnd - address)
        return Fail(Error::InvalidArgument);
    Advice a = Advice::Normal;
    switch (advice) {
        case 0:
        case 1:
        case 2:
            break; // the access pattern
        case 3:
            a = Advice::WillNeed;
            break;
        case 4:
            a = Advice::DontNeed;
            break;
        case 8:
            a = Advice::Free;
            break;
        case 12:
        case 13:
        case 14:
        case 15:
        case 16:
        case 17:
            return 0; // merging, huge pages, core dumps: there are none
        default:
            return Fail(Error::InvalidArgument);
    }
    if (length) TRY(t.space().advise(address, align_up(length, kPageSize), a));
    return 0;
}

Answer sys_msync(Task& t, UserAddress address, uint64_t length, int flags) {
    if (address % kPageSize || (flags & ~7) || (flags & 5) == 5 || address > kUserEnd ||
        length > kUserEnd - address)
        return Fail(Error::InvalidArgument);
    if (flags & 4) TRY(t.space().sync(address, align_up(length, kPageSize)));
    return 0;
}

Answer sys_brk(Task& t, UserAddress wanted) {
    return static_cast<long>(t.space().brk(wanted));
}

} // namespace tessera::syscalls
