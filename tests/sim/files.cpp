#include "tests/sim/files.hpp"

#include <algorithm>

#include "net/schema/page.hpp"

namespace tessera::sim {

namespace {

using namespace schema;
using ull = unsigned long long;

constexpr Nanos kDeadline = seconds(30); // as pmon::BlockingCaller

uint64_t sector_word(uint64_t value, size_t sector) {
    return value ? value * 8 + sector : 0;
}

void fill(MutableBytes block, uint64_t value) {
    for (size_t s = 0; s < 8; s++) {
        uint64_t w = sector_word(value, s);
        std::memcpy(block.data() + s * 512, &w, sizeof w);
    }
}

uint64_t value_of(Bytes block) {
    return load<uint64_t>(block) / 8;
}

bool whole(Bytes block, uint64_t value) {
    for (size_t s = 0; s < 8; s++)
        if (load<uint64_t>(block.subspan(s * 512)) != sector_word(value, s)) return false;
    return true;
}

} // namespace

FileLoad::FileLoad(ProcessBoot& p, VnodeId vnode, FileModel& model, FileStats& stats)
    : p_(p),
      world_(p.world),
      vnode_(vnode),
      model_(model),
      stats_(stats),
      dice_(world_.seed, p.host.name + "/" + std::to_string(p.host.boots) + "/files/" +
                             std::to_string(vnode.value)) {
    if (model_.files.empty())
        for (int i = 0; i < 3; i++) {
            File f;
            f.name = p.host.name + "-" + std::to_string(i);
            model_.files.push_back(f);
        }
    if (model_.open.kind != Kind::None) failed(Error::OutcomeUnknown); // of the boot before
    wake_at_ = now() + milliseconds(static_cast<int64_t>(dice_.below(20)));
}

Host* FileLoad::store() const {
    return p_.host.settings->host(p_.mounts.at(vnode_.value).mount.vnode.storage_ip);
}

Host* FileLoad::home(const File& f) const {
    const cluster::Vnode& v = p_.mounts.at(vnode_.value).mount.vnode;
    if (v.home_count == 0) return nullptr;
    std::vector<roce::Ipv4> homes;
    for (size_t i = 0; i < v.home_count; i++)
        homes.push_back(v.homes[i].ip);
    return p_.host.settings->host(homes[home_index(FileId(f.ref.id), homes)]);
}

HomeTarget FileLoad::home_target(const File& f) const {
    const cluster::Vnode& v = p_.mounts.at(vnode_.value).mount.vnode;
    HomeTarget t{};
    t.vnode = vnode_.value;
    t.store_address = v.storage_ip.value;
    t.file = f.ref;
    t.mount_epoch = v.mount_epoch.value;
    return t;
}

WireCaller FileLoad::caller() {
    WireCaller w{};
    w.vnode = vnode_.value;
    w.sequence = ++p_.file_sequence;
    return w;
}

// Since an error is only excused by what happened to a machine on the way.
bool FileLoad::explained() const {
    uint64_t n = p_.host.troubles;
    for (auto& [ip, h] : p_.host.settings->hosts)
        if (h->name[0] == 'm' || h->name[0] == 's') n += h->troubles;
    return n > 0;
}

// A home or store that is another one than before may have lost what was not synced.
void FileLoad::note_losses(File& f) {
    Host* s = store();
    Host* h = home(f);
    bool store_lost = s && s->boots != f.store_boots && f.store_boots;
    bool home_lost = h && f.home && (h->ip.value != f.home || h->boots != f.home_boots);
    f.store_boots = s ? s->boots : 0;
    f.home = h ? h->ip.value : 0;
    f.home_boots = h ? h->boots : 0;
    if (store_lost) {
        f.now.yes |= f.later.yes;
        f.now.no |= f.later.no;
    }
    if (store_lost || home_lost)
        for (FileModel::Block& b : f.blocks) {
            b.now.insert(b.later.begin(), b.later.end());
            if (home_lost) b.certain = false; // the process monitor has to notice; see README
        }
}

Nanos FileLoad::next_deadline() {
    if (waiting_) return began_ + kDeadline + seconds(6);
    return ended() ? kNever : wake_at_;
}

void FileLoad::poll() {
    if (waiting_ && now() > began_ + kDeadline + seconds(5))
        world_.fail("%s: a file request of vNode %u is unanswered after its deadline",
                    p_.host.name.c_str(), vnode_.value);
    if (waiting_ || ended() || now() < wake_at_ || !p_.mounts.contains(vnode_.value)) return;
    choose();
}

void FileLoad::choose() {
    if (stopping_) { // a last look at everything
        File& f = model_.files[verified_];
        note_losses(f);
        if (!f.now.yes || !f.ref.id || look_ == 5) {
            look_ = 0;
            verified_++;
            wake_at_ = now();
            return;
        }
        if (look_ == 2) return begin(Kind::Sync, verified_, 0, 0);
        size_t first = look_ == 0 || look_ == 3 ? 0 : 8;
        return begin(look_ < 2 ? Kind::Read : Kind::StoreRead, verified_, first,
                     first ? FileModel::kBlocks - 8 : 8);
    }
    size_t i = dice_.below(model_.files.size());
    File& f = model_.files[i];
    note_losses(f);
    if (!f.now.yes || !f.ref.id || f.now.no) return begin(Kind::Create, i, 0, 0);
    uint64_t what = dice_.below(100);
    size_t first = dice_.below(FileModel::kBlocks);
    size_t count = dice_.between(1, std::min<size_t>(4, FileModel::kBlocks - first));
    if (what < 45) return begin(Kind::Write, i, first, count);
    if (what < 80) return begin(Kind::Read, i, first, count);
    if (what < 96) return begin(Kind::Sync, i, 0, 0);
    begin(Kind::Unlink, i, 0, 0);
}

void FileLoad::begin(Kind kind, size_t file, size_t first, size_t count) {
    File& f = model_.files[file];
    FileModel::Operation& op = model_.open;
    op = {kind, file, first, count, model_.next_value};
    if (kind == Kind::Write) model_.next_value += count;
    bool at_home = kind == Kind::Write || kind == Kind::Read || kind == Kind::Sync;
    Host* h = at_home ? home(f) : store();
    auto peer = h ? p_.node->peer(h->ip) : Result<rpc::Peer*>(Fail(Error::NoDevice));
    if (!peer) {
        op.kind = Kind::None;
        wake_at_ = now() + milliseconds(50);
        return;
    }
    world_.note("file", p_.host.station * 16u + vnode_.value,
                static_cast<uint64_t>(kind) << 8 | file, op.value);
    waiting_ = true;
    look_begun_ = stopping_;
    began_ = now();
    auto done = [this](Result<Bytes> r) { answered(r); };
    rpc::CallOptions how{now() + kDeadline, true};
    WireFile root = p_.mounts.at(vnode_.value).root;
    switch (kind) {
        case Kind::Create: {
            FileCreate m{};
            m.caller = caller();
            m.directory = root;
            m.type = static_cast<unsigned char>(storage::FileType::File);
            m.mode = 0644;
            return (*peer)->call(kFileCreate, bytes_of(m), bytes_of(std::string_view(f.name)), how,
                                 done);
        }
        case Kind::Unlink: {
            FileUnlink m{};
            m.caller = caller();
            m.directory = root;
            return (*peer)->call(kFileUnlink, bytes_of(m), bytes_of(std::string_view(f.name)), how,
                                 done);
        }
        case Kind::Write: {
            HomeData m{};
            m.target = home_target(f);
            m.offset = first * env::kBlockSize;
            std::vector<std::byte> data(count * env::kBlockSize);
            for (size_t b = 0; b < count; b++)
                fill(MutableBytes(data).subspan(b * env::kBlockSize, env::kBlockSize),
                     op.value + b);
            return (*peer)->call(kHomeWrite, bytes_of(m), data, how, done);
        }
        case Kind::Read: {
            HomeData m{};
            m.target = home_target(f);
            m.offset = first * env::kBlockSize;
            m.length = static_cast<uint32_t>(count * env::kBlockSize);
            return (*peer)->call(kHomeRead, bytes_of(m), {}, how, done);
        }
        case Kind::Sync: {
            HomeTarget m = home_target(f);
            return (*peer)->call(kHomeSync, bytes_of(m), {}, how, done);
        }
        case Kind::StoreRead: {
            StoreData m{};
            m.target.vnode = vnode_.value;
            m.target.file = f.ref;
            m.offset = first * env::kBlockSize;
            m.length = static_cast<uint32_t>(count * env::kBlockSize);
            return (*peer)->call(kStoreRead, bytes_of(m), {}, how, done);
        }
        case Kind::None:
            break;
    }
}

// An operation that was begun before the end counts for nothing there.
void FileLoad::looked() {
    if (look_begun_) look_++;
}

void FileLoad::answered(Result<Bytes> reply) {
    waiting_ = false;
    operations_++;
    wake_at_ = now() + microseconds(static_cast<int64_t>(dice_.between(100, 8000)));
    world_.wake(p_.host);
    FileModel::Operation op = model_.open;
    File& f = model_.files[op.file];
    world_.note("filed", p_.host.station * 16u + vnode_.value,
                static_cast<uint64_t>(op.kind) << 8 | op.file,
                reply ? 0 : static_cast<uint64_t>(reply.error()));
    if (p_.mounts.contains(vnode_.value)) note_losses(f);
    if (!reply) return failed(reply.error());
    model_.open.kind = Kind::None;
    switch (op.kind) {
        case Kind::Create:
            stats_.creates++;
            return created(f, *reply);
        case Kind::Unlink:
            stats_.unlinks++;
            f.now = {false, true};
            f.later.no = true;
            return;
        case Kind::Write: {
            stats_.writes++;
            size_t n = reply->size() < sizeof(HomeWritten)
                           ? 0
                           : load<HomeWritten>(*reply).length / env::kBlockSize;
            for (size_t i = 0; i < op.count; i++) {
                FileModel::Block& b = f.blocks[op.first + i];
                b.later.insert(op.value + i);
                if (i >= n) {
                    b.now.insert(op.value + i);
                    b.certain = false;
                    continue;
                }
                b.now = {op.value + i};
                b.acknowledged = op.value + i;
                b.certain = true;
            }
            return;
        }
        case Kind::Read:
            stats_.reads++;
            read_back(f, *reply);
            looked();
            return;
        case Kind::StoreRead:
            read_back(f, *reply);
            looked();
            return;
        case Kind::Sync:
            stats_.syncs++;
            synced(f);
            return looked();
        case Kind::None:
            return;
    }
}

void FileLoad::created(File& f, Bytes reply) {
    if (reply.size() < sizeof(WireAttributes))
        return world_.fail("%s: a create is answered with %zu bytes", p_.host.name.c_str(),
                           reply.size());
    auto a = load<WireAttributes>(reply);
    bool same = uint64_t(a.file.id) == uint64_t(f.ref.id) &&
                uint32_t(a.file.generation) == uint32_t(f.ref.generation) && f.ref.id;
    if (!same && f.now.yes && !f.now.no)
        return world_.fail("%s: file %s of vNode %u was durable and has gone", p_.host.name.c_str(),
                           f.name.c_str(), vnode_.value);
    if (same && !f.now.yes)
        return world_.fail("%s: file %s of vNode %u was removed and is back", p_.host.name.c_str(),
                           f.name.c_str(), vnode_.value);
    if (!same) {
        if (f.ref.id) f.previous.push_back({f.ref, f.blocks});
        f.ref = a.file;
        f.blocks.assign(FileModel::kBlocks, {});
        for (auto& [ref, blocks] : f.previous) {
            if (uint64_t(ref.id) != uint64_t(a.file.id) ||
                uint32_t(ref.generation) != uint32_t(a.file.generation))
                continue;
            f.blocks = blocks;
            for (FileModel::Block& b : f.blocks) {
                b.now.insert(b.later.begin(), b.later.end());
                b.certain = false;
            }
        }
        f.home = 0;
        f.later = {true, true};
    }
    f.now = {true, false};
    f.later.yes = true;
}

void FileLoad::read_back(File& f, Bytes data) {
    const FileModel::Operation& op = model_.open;
    std::vector<std::byte> padded(data.begin(), data.end());
    padded.resize(op.count * env::kBlockSize);
    for (size_t i = 0; i < op.count; i++) {
        Bytes block = Bytes(padded).subspan(i * env::kBlockSize, env::kBlockSize);
        FileModel::Block& b = f.blocks[op.first + i];
        uint64_t value = value_of(block);
        world_.note("shows", p_.host.station * 16u + vnode_.value, op.file << 8 | (op.first + i),
                    value);
        if (!whole(block, value))
            return world_.fail("%s: block %zu of %s (vNode %u) is made of parts",
                               p_.host.name.c_str(), op.first + i, f.name.c_str(), vnode_.value);
        if (!b.now.contains(value))
            return world_.fail(
                "%s: block %zu of %s (vNode %u) shows %llu; written last: %llu, "
                "%zu values possible",
                p_.host.name.c_str(), op.first + i, f.name.c_str(), vnode_.value,
                static_cast<ull>(value), static_cast<ull>(b.acknowledged), b.now.size());
        b.now = {value};
    }
    f.now = {true, false};
}

// Durable from here on. Where nothing was reported, what was acknowledged must be what is there.
void FileLoad::synced(File& f) {
    for (FileModel::Block& b : f.blocks) {
        if (b.certain && !f.told) b.now = {b.acknowledged};
        b.later = b.now;
    }
    f.told = false;
    f.now = f.later = {true, false};
}

void FileLoad::failed(Error e) {
    FileModel::Operation op = std::exchange(model_.open, {});
    File& f = model_.files[op.file];
    stats_.errors++;
    wake_at_ = now() + milliseconds(static_cast<int64_t>(dice_.between(1, 50)));
    f.told = true;
    bool gone = e == Error::Stale || e == Error::NotFound;
    if (gone && op.kind != Kind::Create) {
        if (!f.now.no)
            world_.fail("%s: file %s of vNode %u: %s (operation %d), but it was durable",
                        p_.host.name.c_str(), f.name.c_str(), vnode_.value, describe(e).data(),
                        static_cast<int>(op.kind));
        f.now = {false, true};
        return;
    }
    if (!explained())
        world_.fail("%s: file %s of vNode %u: %s, and no fault explains it", p_.host.name.c_str(),
                    f.name.c_str(), vnode_.value, describe(e).data());
    switch (op.kind) {
        case Kind::Create:
            f.now.no = f.later.no = true; // asked again; then it shows which
            f.now.yes = f.later.yes = true;
            break;
        case Kind::Unlink:
            f.now.no = f.later.no = true;
            break;
        case Kind::Write:
            for (size_t i = 0; i < op.count; i++) {
                FileModel::Block& b = f.blocks[op.first + i];
                b.now.insert(op.value + i);
                b.later.insert(op.value + i);
                b.certain = false;
            }
            break;
        default:
            break;
    }
}

} // namespace tessera::sim
