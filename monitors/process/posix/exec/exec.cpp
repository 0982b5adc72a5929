#include "monitors/process/posix/exec/exec.hpp"

#include "monitors/process/posix/exec/elf.hpp"
#include "monitors/process/posix/exec/stack.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

namespace {

constexpr UserAddress kPieBase = 0x5555'5555'4000,
                      kInterpreterBase = 0x7fff'e000'0000 - 0x1000'0000;
constexpr UserAddress kStackEnd = 0x7fff'ffff'e000;

struct Program {
    Location at;
    Attributes attributes;
    std::string execfn;
    std::vector<std::string> arguments;
};

Result<size_t> read_file(Vnode& v, FileRef f, uint64_t offset, MutableBytes into) {
    size_t done = 0;
    while (done < into.size()) {
        size_t most = std::min<size_t>(into.size() - done, 32 * 1024);
        size_t n = TRY(v.files().read(v.id(), f, offset + done, into.subspan(done, most)));
        if (n == 0) break;
        done += n;
    }
    return done;
}

PathContext context_of(Task& t) {
    Process& p = t.process();
    MutexGuard guard(t.vnode().mutex());
    return {p.root, p.cwd, p.credentials()};
}

Result<void> check_executable(const Resolved& r, const Credentials& who) {
    if (!r.exists || r.description) return Fail(Error::AccessDenied);
    if (r.attributes.type != FileType::Regular) return Fail(Error::AccessDenied);
    if (std::string_view(r.at.fs->type()) != "tessera") return Fail(Error::AccessDenied);
    if (!permits(r.attributes, who, kAccessExecute)) return Fail(Error::AccessDenied);
    return {};
}

// "#! interpreter [argument]": false if `head` is no script.
Result<bool> script_line(std::string_view head, std::string& interpreter, std::string& argument) {
    if (!head.starts_with("#!")) return false;
    size_t end = head.find('\n');
    std::string_view line =
        head.substr(2, end == std::string_view::npos ? head.size() - 2 : end - 2);
    auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
    while (!line.empty() && blank(line.front()))
        line.remove_prefix(1);
    while (!line.empty() && blank(line.back()))
        line.remove_suffix(1);
    size_t n = 0;
    while (n < line.size() && !blank(line[n]))
        n++;
    if (n == 0 || (end == std::string_view::npos && n == line.size() && head.size() >= 255))
        return Fail(Error::NotExecutable);
    interpreter = line.substr(0, n);
    line.remove_prefix(n);
    while (!line.empty() && blank(line.front()))
        line.remove_prefix(1);
    argument = line;
    return true;
}

// Follows #! lines to the file that is loaded. `head` gets its first bytes.
Result<Program> find_program(Task& t, Program p, std::vector<std::byte>& head) {
    PathContext c = context_of(t);
    for (int depth = 0; depth < 5; depth++) {
        head.resize(256);
        head.resize(TRY(read_file(t.vnode(), p.at.file, 0, head)));
        std::string interpreter, argument;
        if (!TRY(script_line(text_of(head), interpreter, argument))) return p;
        std::vector<std::string> arguments{interpreter};
        if (!argument.empty()) arguments.push_back(argument);
        arguments.push_back(p.execfn);
        for (size_t i = 1; i < p.arguments.size(); i++)
            arguments.push_back(p.arguments[i]);
        Resolved r = TRY(resolve_existing(t.vnode().mounts(), c, interpreter, LastLink::Follow));
        TRY(check_executable(r, c.who));
        p = {r.at, r.attributes, interpreter, std::move(arguments)};
    }
    return Fail(Error::TooManyLinks);
}

Result<ElfImage> read_image(Vnode& v, FileRef f, uint64_t size, Bytes head) {
    ElfHeaderPlace place = TRY(find_program_headers(head));
    if (place.offset > size || place.bytes > size - place.offset) return Fail(Error::NotExecutable);
    std::vector<std::byte> headers(place.bytes);
    if (TRY(read_file(v, f, place.offset, headers)) != headers.size())
        return Fail(Error::NotExecutable);
    return parse_elf(head, headers, size);
}

// Maps the segments; returns what is to be added to the addresses in the image.
Result<uint64_t> map_image(AddressSpace& space, const ElfImage& image, FileRef f,
                           UserAddress wanted, const std::string& name) {
    uint64_t bias = image.relocatable ? wanted - image.lowest() : 0;
    for (const ElfSegment& s : image.segments) {
        UserAddress start = align_down(s.address + bias, kPageSize);
        uint64_t lead = s.address + bias - start;
        MapRequest m;
        m.address = start;
        m.length = align_up(lead + s.memory_size, kPageSize);
        m.protection = (s.read ? Protection::Read : Protection::None) |
                       (s.write ? Protection::Write : Protection::None) |
                       (s.execute ? Protection::Execute : Protection::None);
        m.place = MapPlace::FixedNoReplace;
        m.name = name.c_str();
        if (s.file_size) {
            m.file = f;
            m.offset = s.offset - lead;
            m.file_bytes = lead + s.file_size;
        }
        Result<UserAddress> at = space.map(m);
        if (!at)
            return Fail(at.error() == Error::NoMemory ? Error::NoMemory : Error::NotExecutable);
    }
    return bias;
}

std::string joined(const std::vector<std::string>& words) {
    std::string s;
    for (const std::string& w : words) {
        if (s.size() + w.size() >= 4096) break;
        s += w;
        s.push_back('\0');
    }
    return s;
}

// Everybody else of the thread group ends. False: somebody else was first.
Result<void> become_only_task(Task& t) {
    Process& p = t.process();
    Vnode& v = t.vnode();
    MutexGuard guard(v.mutex());
    if (p.exiting || (p.exec_by && p.exec_by != &t)) return Fail(Error::Interrupted);
    if (p.tasks.size() <= 1) return {};
    p.exec_by = &t;
    while (p.tasks.size() > 1) {
        for (Task* other : p.tasks)
            if (other != &t && other->thread) other->thread->kick(kernel::KickKind::Kill);
        if (block(p.changed, v.mutex(), kernel::Thread::now() + milliseconds(20),
                  kernel::Interruptible::KillOnly) == kernel::Wake::Kicked) {
            p.exec_by = nullptr;
            return Fail(Error::Interrupted);
        }
    }
    p.exec_by = nullptr;
    return {};
}

struct NewImage {
    Ref<SpaceHolder> memory;
    UserAddress entry = 0;
    UserAddress stack = 0;
    UserAddress stack_top = 0;
};

Result<NewImage> build_image(Task& t, const Program& program,
                             const std::vector<std::string>& environment, Bytes head,
                             const Identities& ids, bool secure) {
    Vnode& v = t.vnode();
    Random& random = v.random();
    ElfImage image = TRY(read_image(v, program.at.file, program.attributes.size, head));
    Ref<AddressSpace> space = TRY(v.services().spaces.create(v.id()));
    NewImage out;
    out.memory = make_ref<SpaceHolder>(space);
    UserAddress pie = kPieBase + (random.next() & 0xfffffff) * kPageSize;
    uint64_t bias = TRY(map_image(*space, image, program.at.file, pie, program.at.path));
    out.entry = image.entry + bias;
    UserAddress interpreter_base = 0;
    if (image.interpreter_length) {
        std::string path(image.interpreter_length, '\0');
        if (TRY(read_file(v, program.at.file, image.interpreter_offset,
                          std::as_writable_bytes(std::span(path)))) != path.size())
            return Fail(Error::NotExecutable);
        path.resize(path.find('\0') == std::string::npos ? path.size() : path.find('\0'));
        PathContext c = context_of(t);
        Resolved r = TRY(resolve_existing(v.mounts(), c, path, LastLink::Follow));
        TRY(check_executable(r, c.who));
        std::vector<std::byte> start(64);
        start.resize(TRY(read_file(v, r.at.file, 0, start)));
        ElfImage loader = TRY(read_image(v, r.at.file, r.attributes.size, start));
        interpreter_base = kInterpreterBase - (random.next() & 0xfffff) * kPageSize;
        uint64_t loader_bias =
            TRY(map_image(*space, loader, r.at.file, interpreter_base, r.at.path));
        interpreter_base = loader_bias;
        out.entry = loader.entry + loader_bias;
    }
    space->set_brk_start(align_up(image.highest() + bias, kPageSize) +
                         (random.next() & 0x1fff) * kPageSize);

    Process& p = t.process();
    uint64_t stack_size =
        std::min<uint64_t>(std::max<uint64_t>(p.limits[kLimitStack].soft, 256 << 10), 64 << 20);
    stack_size = align_up(stack_size, kPageSize);
    out.stack_top = kStackEnd - (random.next() & 0x3fffff) * kPageSize;
    MapRequest m;
    m.address = out.stack_top - stack_size;
    m.length = stack_size;
    m.protection = Protection::Read | Protection::Write;
    m.place = MapPlace::FixedNoReplace;
    m.grows_down = true;
    m.name = "[stack]";
    TRY(space->map(m));
    StackImage s;
    s.top = out.stack_top;
    s.arguments = &program.arguments;
    s.environment = &environment;
    s.program = program.execfn;
    random.fill(s.random);
    s.auxiliary = {{kAuxPageSize, kPageSize},
                   {kAuxClockTick, 100},
                   {kAuxHardware, 0x078bfbff},
                   {kAuxHardware2, 0},
                   {kAuxHeaders, image.headers_address ? image.headers_address + bias : 0},
                   {kAuxHeaderSize, 56},
                   {kAuxHeaderCount, image.header_count},
                   {kAuxBase, interpreter_base},
                   {kAuxFlags, 0},
                   {kAuxEntry, image.entry + bias},
                   {kAuxUid, ids.ruid},
                   {kAuxEuid, ids.euid},
                   {kAuxGid, ids.rgid},
                   {kAuxEgid, ids.egid},
                   {kAuxSecure, secure}};
    out.stack = TRY(build_stack(*space, s, stack_size / 4));
    return out;
}

} // namespace

Result<void> execute(Task& t, const std::string& path, std::vector<std::string> arguments,
                     const std::vector<std::string>& environment) {
    PathContext c = context_of(t);
    Resolved r = TRY(resolve_existing(t.vnode().mounts(), c, path, LastLink::Follow));
    return execute_file(t, std::move(r), path, std::move(arguments), environment);
}

Result<void> execute_file(Task& t, Resolved file, const std::string& name,
                          std::vector<std::string> arguments,
                          const std::vector<std::string>& environment) {
    Process& p = t.process();
    Vnode& v = t.vnode();
    PathContext c = context_of(t);
    TRY(check_executable(file, c.who));
    if (arguments.empty()) arguments.push_back("");
    size_t bytes = 0;
    for (const auto& s : arguments)
        bytes += s.size() + 9;
    for (const auto& s : environment)
        bytes += s.size() + 9;
    if (bytes > kMostArgumentBytes) return Fail(Error::TooBig);

    Program program{file.at, file.attributes, name, std::move(arguments)};
    std::vector<std::byte> head;
    program = TRY(find_program(t, std::move(program), head));

    Identities ids = p.ids;
    bool secure = false;
    uint16_t mode = p.no_new_privileges ? 0 : program.attributes.mode;
    if (mode & 04000) ids.euid = program.attributes.uid;
    if ((mode & 02010) == 02010) ids.egid = program.attributes.gid;
    secure = ids.euid != ids.ruid || ids.egid != ids.rgid;
    ids.suid = ids.euid;
    ids.sgid = ids.egid;
    NewImage image = TRY(build_image(t, program, environment, head, ids, secure));
    TRY(become_only_task(t));

    // The point of no return.
    v.counters.execs++;
    if (p.descriptors) p.descriptors->close_marked();
    Ref<SpaceHolder> old;
    {
        MutexGuard guard(v.mutex());
        size_t slash = name.rfind('/');
        p.name = name.substr(slash == std::string::npos ? 0 : slash + 1).substr(0, 15);
        p.command_line = joined(program.arguments);
        p.environment = joined(environment);
        p.executable = program.at;
        p.ids = ids;
        for (SignalAction& a : p.actions) {
            if (a.handler != kHandlerIgnore) a.handler = kHandlerDefault;
            a.flags = a.mask = a.restorer = 0;
        }
        p.executed = true;
        p.stack_top = image.stack_top;
        p.exit_signal = kSigChild;
        p.dumpable = true;
        old = std::move(p.memory);
        p.memory = image.memory;
        p.vfork_done = true;
        p.changed.wake_all();
    }
    t.alternate = {};
    t.clear_child_tid = 0;
    t.robust_list = 0;
    t.restart = {};
    t.context.registers = {};
    t.context.registers.rip = image.entry;
    t.context.registers.rsp = image.stack;
    t.context.registers.rflags = 0x202;
    t.context.reset_fpu();
    if (&t == Task::current()) p.space().activate();
    return {}; // `old` goes here
}

Result<std::string> search_program(Task& t, const std::string& name,
                                   const std::vector<std::string>& environment) {
    if (name.find('/') != std::string::npos) return name;
    std::string path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (const std::string& e : environment)
        if (e.starts_with("PATH=")) path = e.substr(5);
    PathContext c = context_of(t);
    Error why = Error::NotFound;
    for (size_t i = 0; i <= path.size();) {
        size_t end = std::min(path.find(':', i), path.size());
        std::string candidate = path.substr(i, end - i);
        candidate = candidate.empty() ? name : candidate + "/" + name;
        auto r = resolve_existing(t.vnode().mounts(), c, candidate, LastLink::Follow);
        if (r) {
            if (check_executable(*r, c.who)) return candidate;
            why = Error::AccessDenied;
        }
        i = end + 1;
    }
    return Fail(why);
}

} // namespace tessera::posix
