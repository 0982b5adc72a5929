// User and group ids. Set-id rules: uid 0 may all, others move among their three.
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {
namespace {

constexpr uint32_t kKeep = ~0u;

struct Three {
    uint32_t r, e, s;
    bool has(uint32_t id) const { return id == r || id == e || id == s; }
};

Answer set_three(Task& t, bool group, uint32_t r, uint32_t e, uint32_t s) {
    MutexGuard guard(t.vnode().mutex());
    Identities& i = t.process().ids;
    Three now = group ? Three{i.rgid, i.egid, i.sgid} : Three{i.ruid, i.euid, i.suid};
    bool root = i.euid == 0;
    for (uint32_t id : {r, e, s})
        if (id != kKeep && !root && !now.has(id)) return Fail(Error::NotPermitted);
    if (r == kKeep) r = now.r;
    if (e == kKeep) e = now.e;
    if (s == kKeep) s = now.s;
    if (group)
        i.rgid = r, i.egid = e, i.sgid = s;
    else
        i.ruid = r, i.euid = e, i.suid = s;
    return 0;
}

// setreuid, setregid: the saved id follows if the real one is set or the effective one leaves it.
Answer set_two(Task& t, bool group, uint32_t r, uint32_t e) {
    const Identities& i = t.process().ids;
    uint32_t real = group ? i.rgid : i.ruid, effective = group ? i.egid : i.euid;
    bool save = r != kKeep || (e != kKeep && e != real);
    return set_three(t, group, r, e, save ? (e != kKeep ? e : effective) : kKeep);
}

Answer set_one(Task& t, bool group, uint32_t id) {
    if (id == kKeep) return Fail(Error::InvalidArgument);
    bool root = t.process().ids.euid == 0;
    return root ? set_three(t, group, id, id, id) : set_three(t, group, kKeep, id, kKeep);
}

} // namespace

Answer sys_getuid(Task& t) {
    return t.process().ids.ruid;
}
Answer sys_geteuid(Task& t) {
    return t.process().ids.euid;
}
Answer sys_getgid(Task& t) {
    return t.process().ids.rgid;
}
Answer sys_getegid(Task& t) {
    return t.process().ids.egid;
}
Answer sys_setuid(Task& t, uint32_t uid) {
    return set_one(t, false, uid);
}
Answer sys_setgid(Task& t, uint32_t gid) {
    return set_one(t, true, gid);
}
Answer sys_setreuid(Task& t, uint32_t r, uint32_t e) {
    return set_two(t, false, r, e);
}
Answer sys_setregid(Task& t, uint32_t r, uint32_t e) {
    return set_two(t, true, r, e);
}
Answer sys_setresuid(Task& t, uint32_t r, uint32_t e, uint32_t s) {
    return set_three(t, false, r, e, s);
}
Answer sys_setresgid(Task& t, uint32_t r, uint32_t e, uint32_t s) {
    return set_three(t, true, r, e, s);
}

Answer sys_getresuid(Task& t, UserAddress r, UserAddress e, UserAddress s) {
    Identities i = t.process().ids;
    TRY(put(t, r, i.ruid));
    TRY(put(t, e, i.euid));
    TRY(put(t, s, i.suid));
    return 0;
}
Answer sys_getresgid(Task& t, UserAddress r, UserAddress e, UserAddress s) {
    Identities i = t.process().ids;
    TRY(put(t, r, i.rgid));
    TRY(put(t, e, i.egid));
    TRY(put(t, s, i.sgid));
    return 0;
}

Answer sys_getgroups(Task& t, int count, UserAddress to) {
    Identities i = t.process().ids;
    if (count == 0) return i.group_count;
    if (count < i.group_count) return Fail(Error::InvalidArgument);
    TRY(copy_out(t, to, std::as_bytes(std::span(i.groups).first(i.group_count))));
    return i.group_count;
}

Answer sys_setgroups(Task& t, int count, UserAddress from) {
    if (t.process().ids.euid != 0) return Fail(Error::NotPermitted);
    std::array<uint32_t, 32> groups{};
    if (count < 0 || static_cast<size_t>(count) > groups.size())
        return Fail(Error::InvalidArgument);
    TRY(copy_in(t, from,
                std::as_writable_bytes(std::span(groups).first(static_cast<size_t>(count)))));
    MutexGuard guard(t.vnode().mutex());
    t.process().ids.groups = groups;
    t.process().ids.group_count = static_cast<uint8_t>(count);
    return 0;
}

} // namespace tessera::syscalls
