// What the files of /proc say. Formats: proc(5).
#include "monitors/process/posix/fs/proc_fs.hpp"
#include "monitors/process/posix/text.hpp"
#include "monitors/process/posix/tty/tty.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

namespace {

constexpr int64_t kTick = 10'000'000; // 1/100 s

char letter(Process& p) {
    switch (p.state) {
        case Process::State::Stopped:
            return 'T';
        case Process::State::Zombie:
        case Process::State::Gone:
            return 'Z';
        default:
            break;
    }
    if (p.tasks.empty()) return 'S';
    for (Task* t : p.tasks)
        if (!t->sleeping) return 'R';
    return 'S';
}

// Escapes as getmntent(3) expects.
std::string mount_lines(Vnode& v) {
    std::string s;
    for (const Mount& m : v.mounts().all()) {
        const char* source = m.covered ? m.fs->type() : "store";
        append(s, "%s %s %s rw,relatime 0 0\n", source, m.point.c_str(), m.fs->type());
    }
    return s;
}

std::string uuid(Random& r) {
    uint64_t a = r.next(), b = r.next();
    std::string s;
    append(s, "%08x-%04x-4%03x-%04x-%012lx\n", static_cast<unsigned>(a >> 32),
           static_cast<unsigned>(a >> 16) & 0xffff, static_cast<unsigned>(a) & 0xfff,
           0x8000 | (static_cast<unsigned>(b >> 48) & 0x3fff), b & 0xfffffffffffful);
    return s;
}

struct Usage {
    uint64_t running = 0, total = 0;
    int64_t cpu_ns = 0;
    uint32_t last = 0;
};
Usage usage(Vnode& v) {
    Usage u;
    MutexGuard guard(v.mutex());
    v.for_each_process([&](Process& p) {
        u.total++;
        u.running += letter(p) == 'R';
        Times t = p.times();
        u.cpu_ns += t.user_ns + t.system_ns;
        u.last = std::max(u.last, p.pid().value);
    });
    return u;
}

void stat_line(Vnode& v, std::string& s, const MachineInfo& m) {
    Usage u = usage(v);
    int64_t up = v.uptime().value;
    int64_t idle = std::max<int64_t>(0, up * m.cpus - u.cpu_ns);
    append(s, "cpu  %ld 0 0 %ld 0 0 0 0 0 0\n", u.cpu_ns / kTick, idle / kTick);
    for (unsigned i = 0; i < m.cpus; i++)
        append(s, "cpu%u %ld 0 0 %ld 0 0 0 0 0 0\n", i, u.cpu_ns / kTick / m.cpus,
               idle / kTick / m.cpus);
    append(s, "intr 0\nctxt %lu\nbtime %ld\nprocesses %lu\nprocs_running %lu\nprocs_blocked 0\n",
           m.context_switches, (v.realtime_ns() - up) / 1'000'000'000, v.counters.forks.load() + 1,
           u.running);
}

} // namespace

Result<std::string> proc_text(Vnode& v, uint16_t kind) {
    std::string s;
    MachineInfo m = v.services().machine.info();
    switch (kind) {
        case kProcMeminfo:
            append(s, "MemTotal:       %8lu kB\nMemFree:        %8lu kB\nMemAvailable:   %8lu kB\n",
                   m.total_memory >> 10, m.free_memory >> 10, m.free_memory >> 10);
            append(s, "Buffers:        %8d kB\nCached:         %8d kB\nSwapCached:     %8d kB\n", 0,
                   0, 0);
            append(s, "Active:         %8lu kB\nInactive:       %8d kB\n",
                   (m.total_memory - m.free_memory) >> 10, 0);
            append(s, "SwapTotal:      %8d kB\nSwapFree:       %8d kB\nDirty:          %8d kB\n", 0,
                   0, 0);
            append(s, "Writeback:      %8d kB\nAnonPages:      %8d kB\nMapped:         %8d kB\n", 0,
                   0, 0);
            append(s, "Shmem:          %8d kB\nSlab:           %8d kB\nSReclaimable:   %8d kB\n", 0,
                   0, 0);
            break;
        case kProcCpuinfo:
            for (unsigned i = 0; i < m.cpus; i++)
                append(s,
                       "processor\t: %u\nvendor_id\t: Tessera\nmodel name\t: %s\ncpu MHz\t\t: "
                       "%lu.%03lu\n"
                       "cache size\t: 0 KB\nflags\t\t: fpu tsc msr cx8 apic cmov fxsr sse sse2 "
                       "syscall nx lm\n\n",
                       i, m.cpu_model.c_str(), m.cpu_khz / 1000, m.cpu_khz % 1000);
            break;
        case kProcUptime: {
            int64_t up = v.uptime().value / kTick;
            int64_t idle = std::max<int64_t>(0, up * m.cpus - usage(v).cpu_ns / kTick);
            append(s, "%ld.%02ld %ld.%02ld\n", up / 100, up % 100, idle / 100, idle % 100);
            break;
        }
        case kProcLoadavg: {
            Usage u = usage(v);
            append(s, "0.00 0.00 0.00 %lu/%lu %u\n", u.running, u.total, u.last);
            break;
        }
        case kProcStat:
            stat_line(v, s, m);
            break;
        case kProcFilesystems:
            s = "nodev\tproc\nnodev\tdevtmpfs\n\ttessera\n";
            break;
        case kProcVersion:
            s = "Linux version 6.1.0-tessera (tessera@tessera) (clang) #1 SMP Tessera\n";
            break;
        case kProcCmdline:
            s = "tessera\n";
            break;
        case kProcSwaps:
            s = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
            break;
        case kProcPartitions:
            s = "major minor  #blocks  name\n\n";
            break;
        case kProcDevices:
            s = "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n";
            break;
        case kProcHostname: {
            MutexGuard guard(v.mutex());
            s = v.host_name + "\n";
            break;
        }
        case kProcOstype:
            s = "Linux\n";
            break;
        case kProcOsrelease:
            s = "6.1.0-tessera\n";
            break;
        case kProcOsversion:
            s = "#1 SMP Tessera\n";
            break;
        case kProcPidMax:
            s = "4194304\n";
            break;
        case kProcNgroups:
            s = "32\n";
            break;
        case kProcBootId:
        case kProcUuid:
            s = uuid(v.random());
            break;
        case kProcOvercommit:
            s = "0\n";
            break;
        case kProcSwappiness:
            s = "0\n";
            break;
        case kProcFileMax:
            append(s, "%d\n", DescriptorTable::kMost);
            break;
        default:
            return Fail(Error::Unsupported);
    }
    return s;
}

namespace {

void maps(Process& p, std::string& s, bool long_form) {
    Ref<SpaceHolder> memory;
    {
        MutexGuard guard(p.vnode().mutex());
        memory = p.memory;
    }
    if (!memory) return;
    memory->space->for_each_mapping([&](const Mapping& m) {
        size_t start = s.size();
        append(s, "%08lx-%08lx %c%c%c%c %08lx 00:%02x %lu ", m.start, m.end,
               allows(m.protection, Protection::Read) ? 'r' : '-',
               allows(m.protection, Protection::Write) ? 'w' : '-',
               allows(m.protection, Protection::Execute) ? 'x' : '-',
               m.sharing == Sharing::Shared ? 's' : 'p', m.offset, m.file ? 1u : 0u,
               m.file.id.value);
        if (!m.name.empty()) {
            while (s.size() - start < 73)
                s.push_back(' ');
            s += m.name;
        }
        s.push_back('\n');
        if (!long_form) return;
        uint64_t size = (m.end - m.start) >> 10;
        append(s, "Size:           %8lu kB\nRss:            %8d kB\nPss:            %8d kB\n", size,
               0, 0);
        append(s,
               "Shared_Clean:   %8d kB\nShared_Dirty:   %8d kB\nPrivate_Clean:  %8d kB\n"
               "Private_Dirty:  %8d kB\nReferenced:     %8d kB\nSwap:           %8d kB\n",
               0, 0, 0, 0, 0, 0);
    });
}

void pid_stat(Process& p, std::string& s, const MemoryUse& use) {
    Pid front;
    Ref<Terminal> terminal;
    Vnode& v = p.vnode();
    {
        MutexGuard guard(v.mutex());
        if (p.group) terminal = p.group->session->terminal;
    }
    if (terminal) front = terminal->foreground_group();
    MutexGuard guard(v.mutex());
    Times t = p.times();
    int64_t since =
        std::max<int64_t>(0, p.started.value - (kernel::Thread::now() - v.uptime()).value);
    append(s,
           "%u (%s) %c %u %u %u %lu %d 0 %lu 0 %lu 0 %ld %ld %ld %ld %d %d %lu 0 %ld %lu %lu %lu",
           p.pid().value, p.name.c_str(), letter(p),
           p.parent             ? p.parent->pid().value
           : p.pid().value == 1 ? 0u
                                : 1u,
           p.group ? p.group->pid.value : 0, p.group ? p.group->session->pid.value : 0,
           terminal ? make_device(136, terminal->index()) : 0,
           front ? static_cast<int>(front.value) : -1, use.faults - use.remote_faults,
           use.remote_faults, t.user_ns / kTick, t.system_ns / kTick,
           p.children_times.user_ns / kTick, p.children_times.system_ns / kTick, 20 + p.nice,
           p.nice, static_cast<unsigned long>(p.tasks.size()), since / kTick,
           use.virtual_pages * kPageSize, use.resident_lines, p.limits[kLimitStack].soft);
    SignalSet ignored = 0, caught = 0;
    for (int i = 1; i <= 31; i++) {
        if (p.actions[i].handler == kHandlerIgnore)
            ignored |= signal_bit(i);
        else if (p.actions[i].handler != kHandlerDefault)
            caught |= signal_bit(i);
    }
    SignalSet blocked = p.tasks.empty() ? 0 : p.tasks.front()->blocked;
    append(s, " 0 0 0 0 0 %lu %lu %lu %lu 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 %d\n",
           p.pending.set() & 0x7fffffff, blocked & 0x7fffffff, ignored, caught, p.wait_status);
}

void pid_status(Process& p, std::string& s, const MemoryUse& use) {
    MutexGuard guard(p.vnode().mutex());
    char c = letter(p);
    const char* word = c == 'R'   ? "running"
                       : c == 'S' ? "sleeping"
                       : c == 'T' ? "stopped"
                                  : "zombie";
    append(s,
           "Name:\t%s\nUmask:\t%04o\nState:\t%c "
           "(%s)\nTgid:\t%u\nNgid:\t0\nPid:\t%u\nPPid:\t%u\nTracerPid:\t0\n",
           p.name.c_str(), p.umask, c, word, p.pid().value, p.pid().value,
           p.parent             ? p.parent->pid().value
           : p.pid().value == 1 ? 0u
                                : 1u);
    append(s, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\nFDSize:\t%d\nGroups:\t", p.ids.ruid,
           p.ids.euid, p.ids.suid, p.ids.euid, p.ids.rgid, p.ids.egid, p.ids.sgid, p.ids.egid, 64);
    for (unsigned i = 0; i < p.ids.group_count; i++)
        append(s, "%u ", p.ids.groups[i]);
    if (p.state != Process::State::Zombie && p.memory)
        append(s, "\nVmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmHWM:\t%8lu kB\nVmRSS:\t%8lu kB",
               use.virtual_pages * 4, use.virtual_pages * 4, use.resident_lines * 4,
               use.resident_lines * 4);
    SignalSet ignored = 0, caught = 0;
    for (int i = 1; i <= kSignalCount; i++) {
        if (p.actions[i].handler == kHandlerIgnore)
            ignored |= signal_bit(i);
        else if (p.actions[i].handler != kHandlerDefault)
            caught |= signal_bit(i);
    }
    Task* t = p.tasks.empty() ? nullptr : p.tasks.front();
    append(s,
           "\nThreads:\t%lu\nSigQ:\t0/"
           "256\nSigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\n"
           "SigCgt:\t%016lx\n",
           static_cast<unsigned long>(p.tasks.size()), t ? t->pending.set() : 0, p.pending.set(),
           t ? t->blocked : 0, ignored, caught);
    append(s,
           "CapInh:\t%016x\nCapPrm:\t%016lx\nCapEff:\t%016lx\nNoNewPrivs:\t0\nSeccomp:\t0\nCpus_"
           "allowed:\t1\n"
           "Cpus_allowed_list:\t0\n",
           0, p.ids.euid ? 0 : 0x1ffffffffful, p.ids.euid ? 0 : 0x1ffffffffful);
}

} // namespace

Result<std::string> proc_process_text(Process& p, uint16_t kind) {
    Vnode& v = p.vnode();
    std::string s;
    MemoryUse use;
    Ref<SpaceHolder> memory;
    {
        MutexGuard guard(v.mutex());
        memory = p.memory;
    }
    if (memory) use = memory->space->use();
    switch (kind) {
        case kPidStat:
            pid_stat(p, s, use);
            return s;
        case kPidStatus:
            pid_status(p, s, use);
            return s;
        case kPidMaps:
            maps(p, s, false);
            return s;
        case kPidSmaps:
            maps(p, s, true);
            return s;
        case kPidMounts:
            return mount_lines(v);
        case kPidMountinfo: {
            int id = 20;
            for (const Mount& m : v.mounts().all()) {
                append(s, "%d %d 0:%u / %s rw,relatime - %s %s rw\n", id, m.covered ? 20 : 1,
                       m.fs->device(), m.point.c_str(), m.fs->type(),
                       m.covered ? m.fs->type() : "store");
                id++;
            }
            return s;
        }
        case kPidStatm:
            append(s, "%lu %lu 0 0 0 %lu 0\n", use.virtual_pages, use.resident_lines,
                   use.virtual_pages);
            return s;
        default:
            break;
    }
    MutexGuard guard(v.mutex());
    switch (kind) {
        case kPidCmdline:
            return p.state == Process::State::Zombie ? std::string() : p.command_line;
        case kPidEnviron: {
            Task* t = Task::current();
            if (t && t->process().ids.euid != 0 && t->process().ids.euid != p.ids.euid)
                return Fail(Error::AccessDenied);
            return p.environment;
        }
        case kPidComm:
            return p.name + "\n";
        case kPidLoginuid: // nobody logged in
            return std::string("4294967295");
        case kPidLimits: {
            static constexpr struct {
                unsigned which;
                const char *name, *unit;
            } kRows[] = {{kLimitCpu, "Max cpu time", "seconds"},
                         {kLimitFileSize, "Max file size", "bytes"},
                         {kLimitData, "Max data size", "bytes"},
                         {kLimitStack, "Max stack size", "bytes"},
                         {kLimitCore, "Max core file size", "bytes"},
                         {kLimitProcesses, "Max processes", "processes"},
                         {kLimitFiles, "Max open files", "files"},
                         {kLimitAddressSpace, "Max address space", "bytes"}};
            append(s, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
            for (auto& r : kRows) {
                auto word = [](uint64_t n) {
                    return n == kNoLimit ? std::string("unlimited") : decimal(n);
                };
                append(s, "%-25s %-20s %-20s %-10s\n", r.name, word(p.limits[r.which].soft).c_str(),
                       word(p.limits[r.which].hard).c_str(), r.unit);
            }
            return s;
        }
        default:
            return Fail(Error::Unsupported);
    }
}

} // namespace tessera::posix
