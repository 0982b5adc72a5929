// What there is: names, limits, memory, randomness.
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {

Answer sys_uname(Task& t, UserAddress to) {
    struct Names {
        char system[65], node[65], release[65], version[65], machine[65], domain[65];
    } n{};
    static_assert(sizeof n == 390);
    auto fill = [](char(&out)[65], std::string_view s) {
        std::memcpy(out, s.data(), std::min<size_t>(64, s.size()));
    };
    fill(n.system, "Linux");
    {
        MutexGuard guard(t.vnode().mutex());
        fill(n.node, t.vnode().host_name);
    }
    fill(n.release, "6.1.0-tessera");
    fill(n.version, "#1 SMP Tessera");
    fill(n.machine, t.process().personality == 8 ? "i686" : "x86_64");
    fill(n.domain, "(none)");
    TRY(put(t, to, n));
    return 0;
}

Answer sys_sethostname(Task& t, UserAddress from, uint64_t length) {
    if (t.process().ids.euid != 0) return Fail(Error::NotPermitted);
    if (length > 64) return Fail(Error::InvalidArgument);
    std::string name(length, '\0');
    TRY(copy_in(t, from, std::as_writable_bytes(std::span(name))));
    MutexGuard guard(t.vnode().mutex());
    t.vnode().host_name = name;
    return 0;
}

Answer sys_sysinfo(Task& t, UserAddress to) {
    struct Info { // struct sysinfo
        int64_t uptime;
        uint64_t loads[3], total, free, shared, buffers, swap, free_swap;
        uint16_t processes, pad;
        uint32_t pad2;
        uint64_t high, free_high;
        uint32_t unit, pad3;
    } i{};
    static_assert(sizeof i == 112);
    MachineInfo m = t.vnode().services().machine.info();
    i.uptime = t.vnode().uptime().value / 1'000'000'000;
    i.total = m.total_memory;
    i.free = m.free_memory;
    {
        MutexGuard guard(t.vnode().mutex());
        i.processes = static_cast<uint16_t>(t.vnode().process_count());
    }
    i.unit = 1;
    TRY(put(t, to, i));
    return 0;
}

Answer sys_getrandom(Task& t, UserAddress to, uint64_t length, uint32_t flags) {
    if (flags & ~7u) return Fail(Error::InvalidArgument);
    if (length > 0x1ffffff) length = 0x1ffffff;
    std::array<std::byte, 256> b;
    for (uint64_t done = 0; done < length;) {
        MutableBytes piece = MutableBytes(b).first(std::min<uint64_t>(b.size(), length - done));
        t.vnode().random().fill(piece);
        TRY(copy_out(t, to + done, piece));
        done += piece.size();
    }
    return static_cast<long>(length);
}

Answer sys_prlimit64(Task& t, int pid, uint32_t which, UserAddress to_set, UserAddress old) {
    if (which >= kLimitCount) return Fail(Error::InvalidArgument);
    Limit to{};
    if (to_set) to = TRY(fetch<Limit>(t, to_set));
    if (to_set && to.soft > to.hard) return Fail(Error::InvalidArgument);
    Limit was;
    {
        MutexGuard guard(t.vnode().mutex());
        Process& me = t.process();
        Process* p = pid ? t.vnode().find_process(Pid(static_cast<uint32_t>(pid))) : &me;
        if (!p) return Fail(Error::NoProcess);
        if (p != &me && me.ids.euid != 0 && me.ids.ruid != p->ids.ruid)
            return Fail(Error::NotPermitted);
        was = p->limits[which];
        if (to_set) {
            if (to.hard > was.hard && me.ids.euid != 0) return Fail(Error::NotPermitted);
            if (which == kLimitFiles && to.hard > DescriptorTable::kMost && to.hard > was.hard)
                return Fail(Error::NotPermitted);
            p->limits[which] = to;
        }
    }
    if (old) TRY(put(t, old, was));
    return 0;
}

Answer sys_getrlimit(Task& t, uint32_t which, UserAddress to) {
    return sys_prlimit64(t, 0, which, 0, to);
}
Answer sys_setrlimit(Task& t, uint32_t which, UserAddress from) {
    return sys_prlimit64(t, 0, which, from, 0);
}

Answer sys_personality(Task& t, uint64_t persona) {
    long old = static_cast<long>(t.process().personality);
    if (persona != 0xffffffff) {
        if (persona != 0 && persona != 8)
            return Fail(Error::InvalidArgument); // PER_LINUX, PER_LINUX32
        t.process().personality = static_cast<uint32_t>(persona);
    }
    return old;
}

Answer sys_getcpu(Task& t, UserAddress cpu, UserAddress node) {
    if (cpu) TRY(put(t, cpu, uint32_t{0}));
    if (node) TRY(put(t, node, uint32_t{0}));
    return 0;
}

} // namespace tessera::syscalls
