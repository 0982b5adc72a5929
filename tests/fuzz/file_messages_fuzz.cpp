// File messages as the home mComponent (kHome*) and the storage monitor (kFile*, kStore*) receive
// them, from members of the cluster that proved its key. Ids are near those in use, so that the
// operations behind the checks run too, against a real store on a disk in memory.
//
// Holds: what is asked is answered once, the store stays consistent, no frame is lost.
#include <algorithm>

#include "base/log.hpp"
#include "monitors/memory/files/file_home.hpp"
#include "monitors/storage/service/service.hpp"
#include "net/schema/file.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/unit/monitors/storage/store_driver.hpp"
#include "tests/unit/monitors/support/fake_cluster.hpp"
#include "tests/unit/monitors/support/heap_frames.hpp"
#include "tests/unit/net/support/virtual_clock.hpp"

using namespace tessera;
using namespace tessera::schema;
using storage::ObjectRef;
using storage::test::Image;
using storage::test::StoreDriver;
using test::FuzzInput;

namespace {

constexpr uint64_t kBlocks = 1024;
constexpr VnodeId kVnode{1};
constexpr roce::Ipv4 kHome{1}, kStore{2}, kAsker{3};

std::vector<ObjectRef> known; // root, a directory, two files, a symlink

Image make_image() {
    StoreDriver s(kBlocks);
    s.make({.log_blocks = 192});
    ObjectRef d = s.mkdir(s.root, "d")->object;
    ObjectRef f = s.file(d, "f");
    ObjectRef g = s.file(s.root, "g");
    ASSERT(s.write(f, 0, std::string(9000, 'x')));
    known = {s.root, d, f, g, s.symlink(d, "l", "f")->object};
    ASSERT(s.unmount());
    return s.disk.image();
}

struct World {
    explicit World(const Image& image) : store(kBlocks, image), frames(64) {
        store.disk.record = false;
        ASSERT(store.mount());
        service = std::make_unique<smon::Service>(cluster.add(kStore, rpc::NodeKind::Storage),
                                                  *store.store);
        mmon::FileHome::Options o;
        o.reserved_frames = 8;
        home = std::make_unique<mmon::FileHome>(cluster.add(kHome, rpc::NodeKind::Memory), frames,
                                                clock, o);
        asker = &cluster.add(kAsker, rpc::NodeKind::Process);
    }
    ~World() {
        home->sync_all([](Result<void>) {});
        cluster.pump();
        ASSERT(answered == asked);
        service.reset();
        ASSERT(store.check().clean());
        home.reset();
        ASSERT(frames.counts().free == frames.counts().total);
    }
    void call(roce::Ipv4 to, rpc::Opcode op, Bytes head, Bytes tail) {
        asked++;
        (*asker->peer(to, 0))->call(op, head, tail, {}, [this](Result<Bytes>) { answered++; });
        cluster.pump();
    }

    test::VirtualClock clock;
    StoreDriver store;
    env::HeapFrames frames;
    rpc::FakeCluster cluster;
    Own<smon::Service> service;
    Own<mmon::FileHome> home;
    rpc::FakeNode* asker;
    uint64_t asked = 0, answered = 0;
};

WireFile file(FuzzInput& in) {
    WireFile w{};
    uint8_t which = in.byte();
    if (which < 0xf0) {
        ObjectRef r = known[which % known.size()];
        w.id = r.id.value;
        w.generation = r.generation.value;
    } else {
        w.id = which < 0xf8 ? known.back().id.value + in.byte() : in.quad();
        w.generation = in.byte() % 4;
    }
    return w;
}

WireCaller caller(FuzzInput& in) {
    WireCaller c{};
    uint8_t who = in.byte();
    c.vnode = who & 1 ? in.byte() : kVnode.value;
    c.uid = who & 2 ? 1000 : 0;
    c.gid = who & 4 ? 100 : 0;
    c.group_count = who & 8 ? in.dword() : 0;
    c.sequence = who & 16 ? in.byte() % 4 : 0;
    return c;
}

FileTarget file_target(FuzzInput& in) {
    FileTarget t{};
    t.vnode = kVnode.value;
    t.file = file(in);
    return t;
}

HomeTarget home_target(FuzzInput& in) {
    HomeTarget t{};
    t.vnode = kVnode.value;
    t.store_address = in.byte() < 0xf8 ? kStore.value : in.byte() % 5;
    t.file = file(in);
    t.mount_epoch = 1;
    return t;
}

FileChange change(FuzzInput& in) {
    FileChange c{};
    c.caller = caller(in);
    c.file = file(in);
    c.fields = in.byte();
    c.mode = in.word();
    c.uid = in.byte();
    c.gid = in.byte();
    c.size = in.number();
    c.accessed_ns = in.number();
    c.modified_ns = in.number();
    return c;
}

// A few names, so that they meet again; or whatever comes.
std::vector<std::byte> names(FuzzInput& in) {
    static constexpr std::string_view kNames[] = {"f", "g", "d", "l", "new", "..", ".", "d/f", ""};
    uint8_t which = in.byte();
    Bytes b = which < 0xc0 ? bytes_of(kNames[which % std::size(kNames)]) : in.take(in.word() % 600);
    std::vector<std::byte> all(b.begin(), b.end());
    if (which & 0x10) {
        Bytes more = bytes_of(kNames[which % 5]);
        all.insert(all.end(), more.begin(), more.end());
    }
    return all;
}

template <typename T>
T with_directory(FuzzInput& in) {
    T t{};
    t.caller = caller(in);
    t.directory = file(in);
    return t;
}

void to_store(World& w, uint8_t which, FuzzInput& in) {
    auto send = [&](rpc::Opcode op, const auto& head, Bytes tail = {}) {
        w.call(kStore, op, bytes_of(head), tail);
    };
    switch (which % 18) {
        case 0: {
            FileWalk q{};
            q.caller = caller(in);
            q.from = file(in);
            q.follow_last = in.byte() & 1;
            return send(kFileWalk, q, names(in));
        }
        case 1:
            return send(kFileAttributes, file_target(in));
        case 2:
            return send(kFileChange, change(in));
        case 3: {
            auto q = with_directory<FileCreate>(in);
            q.type = in.byte() % 12;
            q.exclusive = in.byte() & 1;
            q.mode = in.word();
            return send(kFileCreate, q, names(in));
        }
        case 4: {
            auto q = with_directory<FileSymlink>(in);
            q.name_length = static_cast<uint32_t>(in.number());
            return send(kFileSymlink, q, names(in));
        }
        case 5:
            return send(kFileReadLink, file_target(in));
        case 6: {
            auto q = with_directory<FileLink>(in);
            q.file = file(in);
            return send(kFileLink, q, names(in));
        }
        case 7: {
            auto q = with_directory<FileUnlink>(in);
            q.directory_wanted = in.byte() & 1;
            return send(kFileUnlink, q, names(in));
        }
        case 8: {
            FileRename q{};
            q.caller = caller(in);
            q.from_directory = file(in);
            q.to_directory = file(in);
            q.from_length = static_cast<uint32_t>(in.number());
            q.mode = in.byte() % 4;
            return send(kFileRename, q, names(in));
        }
        case 9: {
            auto q = with_directory<FileReadDirectory>(in);
            q.after = in.number();
            q.most = in.byte();
            return send(kFileReadDirectory, q);
        }
        case 10:
            return send(kFileHold, file_target(in));
        case 11:
            return send(kFileRelease, file_target(in));
        case 12:
            return send(in.byte() & 1 ? kFileSystemUse : kFileSyncAll, file_target(in));
        case 13:
        case 14: {
            StoreData q{};
            q.target = file_target(in);
            q.offset = in.number();
            q.length = static_cast<uint32_t>(in.number());
            q.size = in.number();
            q.modified_ns = in.number();
            std::vector<std::byte> data(which % 18 == 14 ? in.word() % (kMaxFileData + 1) : 0);
            return send(data.empty() ? kStoreRead : kStoreWrite, q, data);
        }
        case 15:
            return send(kStoreSync, file_target(in));
        case 16: {
            StoreCreateRoot q{};
            q.vnode = in.byte() % 4;
            q.mode = 0755;
            q.quota_bytes = in.number();
            return send(kStoreCreateRoot, q);
        }
        default: {
            if (in.byte() & 1) {
                StoreFence q{};
                q.node = in.byte() % 4;
                q.incarnation = in.number();
                return send(kStoreFence, q);
            }
            FileTarget t = file_target(in);
            t.vnode = 1 + in.byte() % 4;
            return send(kStoreRemoveRoot, t);
        }
    }
}

void to_home(World& w, uint8_t which, FuzzInput& in) {
    auto send = [&](rpc::Opcode op, const auto& head, Bytes tail = {}) {
        w.call(kHome, op, bytes_of(head), tail);
    };
    switch (which % 8) {
        case 0:
        case 1:
        case 2: {
            HomeData q{};
            q.target = home_target(in);
            q.offset = in.number();
            q.length = static_cast<uint32_t>(in.number());
            q.append = in.byte() & 1;
            if (which % 8 == 0) return send(kHomeRead, q);
            std::vector<std::byte> data(in.word() % (kMaxFileData + 1));
            return send(kHomeWrite, q, data);
        }
        case 3:
            return send(in.byte() & 1 ? kHomeAttributes : kHomeSync, home_target(in));
        case 4: {
            HomeChange q{};
            q.target = home_target(in);
            q.change = change(in);
            if (in.byte() < 0xf0) q.change.file = q.target.file;
            return send(kHomeChange, q);
        }
        case 5:
            return send(kHomeSyncAll, home_target(in));
        case 6: {
            ObjectRef r = known[in.byte() % known.size()];
            mmon::FileKey key{kVnode, r.id, r.generation};
            w.asked++;
            auto got = [&w](Result<mmon::FileHome::Provided> p) {
                w.answered++;
                for (unsigned i = 0; p && i < p->count; i++)
                    if (p->frames[i]) w.frames.release(p->frames[i]);
            };
            w.home->provide(key, PageNo(in.number()), 1 + in.byte() % 8, got);
            return w.cluster.pump();
        }
        default:
            w.clock.advance(seconds(in.byte()));
            w.home->poll();
            w.cluster.pump();
            if (in.byte() & 1) w.home->shrink(in.byte());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    set_log_sink([](LogLevel, const char*, std::string_view) {});
    static const Image image = make_image();
    FuzzInput in{data, size};
    World w(image);
    for (int steps = 0; in.left > 0 && steps < 200; steps++) {
        uint8_t what = in.byte();
        w.asker->self.kind = what & 0x40 ? rpc::NodeKind::Memory : rpc::NodeKind::Process;
        uint8_t which = in.byte();
        if (what >= 0xf0) { // not even the right size
            static constexpr uint16_t kFirst[] = {0x3000, 0x3020, 0x3040};
            w.call(what & 1 ? kHome : kStore,
                   rpc::Opcode(static_cast<uint16_t>(kFirst[which % 3] + which / 3 % 16)),
                   in.take(in.byte()), {});
        } else if (what & 1) {
            to_home(w, which, in);
        } else {
            to_store(w, which, in);
        }
    }
    return 0;
}
