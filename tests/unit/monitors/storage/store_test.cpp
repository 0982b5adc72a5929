// Names, attributes, rights, holds, roots: what each operation does while the store runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/monitors/storage/store_driver.hpp"

namespace tessera::storage::test {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class StoreTest : public ::testing::Test {
  protected:
    StoreTest() : s(2048) { s.make(); }
    ~StoreTest() override {
        CheckReport r = s.check();
        for (auto& p : r.problems)
            ADD_FAILURE() << p;
        EXPECT_TRUE(r.clean());
        uint64_t before = s.digest();
        EXPECT_TRUE(s.remount());
        EXPECT_EQ(s.digest(), before);
        EXPECT_TRUE(s.unmount());
    }
    StoreDriver s;
};

#define EXPECT_ERROR(expression, code)      \
    do {                                    \
        auto r_ = (expression);             \
        ASSERT_FALSE(r_.has_value());       \
        EXPECT_EQ(r_.error(), Error::code); \
    } while (0)

TEST_F(StoreTest, CreatesAndFinds) {
    ObjectRef etc = s.mkdir(s.root, "etc")->object;
    Result<CreateResult> made =
        s.create(etc, "passwd", {.mode = 0600, .exclusive = true}, as(5, 6));
    EXPECT_ERROR(made, AccessDenied); // /etc belongs to root
    made = s.create(etc, "passwd", {.mode = 0600, .exclusive = true});
    ASSERT_TRUE(made);
    EXPECT_TRUE(made->created);
    Attributes a = *s.find("etc/passwd");
    EXPECT_EQ(a.object, made->attributes.object);
    EXPECT_EQ(a.mode, 0600u);
    EXPECT_EQ(a.nlink, 1u);
    EXPECT_EQ(s.getattr(s.root)->nlink, 3u);
    EXPECT_EQ(s.getattr(etc)->parent, s.root);
    EXPECT_ERROR(s.create(etc, "passwd", {.exclusive = true}), Exists);
    Result<CreateResult> again = s.create(etc, "passwd");
    ASSERT_TRUE(again);
    EXPECT_FALSE(again->created);
    EXPECT_EQ(again->attributes.object, a.object);
    EXPECT_ERROR(s.create(etc, "a/b"), InvalidArgument);
    EXPECT_ERROR(s.create(etc, ".."), InvalidArgument);
    EXPECT_ERROR(s.create(etc, std::string(256, 'x')), NameTooLong);
    EXPECT_TRUE(s.create(etc, std::string(255, 'x')));
    EXPECT_ERROR(s.create(a.object, "x"), NotDirectory);
}

TEST_F(StoreTest, LookupSaysWhereItStops) {
    ObjectRef a = s.mkdir(s.root, "a")->object;
    ObjectRef b = s.mkdir(a, "b")->object;
    ObjectRef f = s.file(b, "f");
    s.symlink(a, "l", "/x/y");
    EXPECT_EQ(s.lookup("a/b/f")->attributes.object, f);
    EXPECT_EQ(s.lookup("a/b/f")->parent, b);
    EXPECT_EQ(s.lookup("")->attributes.object, s.root);
    EXPECT_EQ(s.lookup("./a//b/.")->attributes.object, b);
    EXPECT_EQ(s.lookup("a/b/../b/f")->attributes.object, f);
    auto up = s.lookup("a/../../z");
    EXPECT_EQ(up->stop, Stop::DotDot);
    EXPECT_EQ(up->attributes.object, s.root);
    EXPECT_EQ(up->rest, "/z");
    up = s.lookup("a/b/../c", kRootUser, {.boundary = b});
    EXPECT_EQ(up->stop, Stop::DotDot);
    auto link = s.lookup("a/l/more/of/it");
    EXPECT_EQ(link->stop, Stop::Symlink);
    EXPECT_EQ(s.link_target, "/x/y");
    EXPECT_EQ(link->rest, "/more/of/it");
    EXPECT_EQ(link->parent, a);
    EXPECT_EQ(s.lookup("a/l")->stop, Stop::Symlink);
    EXPECT_EQ(s.lookup("a/l", kRootUser, {.follow_last = false})->stop, Stop::Object);
    EXPECT_EQ(s.lookup("a/l/", kRootUser, {.follow_last = false})->stop, Stop::Symlink);
    auto missing = s.lookup("a/b/new");
    EXPECT_EQ(missing->stop, Stop::Missing);
    EXPECT_EQ(missing->attributes.object, b);
    EXPECT_EQ(missing->rest, "new");
    EXPECT_ERROR(s.lookup("a/none/new"), NotFound);
    EXPECT_ERROR(s.lookup("a/b/f/g"), NotDirectory);
    EXPECT_ERROR(s.lookup("a/b/f/"), NotDirectory);
    EXPECT_TRUE(s.lookup("a/b/new/")->must_be_directory);
    EXPECT_ERROR(s.lookup(std::string(300, 'n')), NameTooLong);
}

TEST_F(StoreTest, PathCacheFollowsRenamesAndRights) {
    ObjectRef a = s.mkdir(s.root, "a")->object;
    ObjectRef b = s.mkdir(a, "b")->object;
    ObjectRef f = s.file(b, "f");
    EXPECT_EQ(s.lookup("a/b/f")->attributes.object, f);
    uint64_t hits = s.store->counters().path_cache_hits;
    EXPECT_EQ(s.lookup("a/b/f", as(9))->attributes.object, f);
    EXPECT_EQ(s.store->counters().path_cache_hits, hits + 1);
    ASSERT_TRUE(s.rename(a, "b", s.root, "moved"));
    EXPECT_ERROR(s.lookup("a/b/f"), NotFound);
    EXPECT_EQ(s.lookup("moved/f")->attributes.object, f);
    ASSERT_TRUE(s.mkdir(a, "b"));
    EXPECT_EQ(s.lookup("a/b/f")->stop, Stop::Missing);
    ASSERT_TRUE(s.setattr(a, {.fields = SetAttributes::Mode, .mode = 0700}));
    EXPECT_ERROR(s.lookup("a/b/f", as(9)), AccessDenied);
    EXPECT_EQ(s.lookup("a/b/f")->stop, Stop::Missing);
}

TEST_F(StoreTest, LinksCountAndUnlink) {
    ObjectRef f = s.file(s.root, "f");
    EXPECT_EQ(s.link(f, s.root, "g")->nlink, 2u);
    EXPECT_ERROR(s.link(f, s.root, "g"), Exists);
    ObjectRef d = s.mkdir(s.root, "d")->object;
    EXPECT_ERROR(s.link(d, s.root, "h"), NotPermitted);
    EXPECT_EQ(s.unlink(s.root, "f")->nlink, 1u);
    EXPECT_EQ(s.unlink(s.root, "g")->nlink, 0u);
    EXPECT_ERROR(s.getattr(f), Stale);
    EXPECT_ERROR(s.unlink(s.root, "g"), NotFound);
    EXPECT_ERROR(s.unlink(s.root, "d"), IsDirectory);
    ASSERT_TRUE(s.create(d, "x"));
    EXPECT_ERROR(s.rmdir(s.root, "d"), NotEmpty);
    ASSERT_TRUE(s.unlink(d, "x"));
    EXPECT_TRUE(s.rmdir(s.root, "d"));
    EXPECT_EQ(s.getattr(s.root)->nlink, 2u);
    EXPECT_ERROR(s.rmdir(s.root, "d"), NotFound);
}

TEST_F(StoreTest, RenameReplacesExchangesRefuses) {
    ObjectRef a = s.mkdir(s.root, "a")->object;
    ObjectRef b = s.mkdir(a, "b")->object;
    ObjectRef f = s.file(a, "f"), g = s.file(b, "g");
    EXPECT_ERROR(s.rename(s.root, "a", b, "inside"), InvalidArgument);
    EXPECT_ERROR(s.rename(s.root, "a", a, "self"), InvalidArgument);
    EXPECT_ERROR(s.rename(a, "f", b, "g", {.no_replace = true}), Exists);
    EXPECT_ERROR(s.rename(a, "f", a, "b"), IsDirectory);
    EXPECT_ERROR(s.rename(a, "b", a, "f"), NotDirectory);
    Result<RenameResult> r = s.rename(a, "f", b, "g");
    ASSERT_TRUE(r);
    EXPECT_EQ(r->moved, f);
    EXPECT_EQ(r->replaced, g);
    EXPECT_ERROR(s.getattr(g), Stale);
    EXPECT_EQ(s.find("a/b/g")->object, f);
    ObjectRef c = s.mkdir(s.root, "c")->object;
    ASSERT_TRUE(s.rename(b, "g", s.root, "c", {.exchange = true}));
    EXPECT_EQ(s.find("c")->object, f);
    EXPECT_EQ(s.find("a/b/g")->object, c);
    EXPECT_EQ(s.getattr(c)->parent, b);
    EXPECT_EQ(s.getattr(b)->nlink, 3u);
    EXPECT_EQ(s.getattr(s.root)->nlink, 3u);
    ASSERT_TRUE(s.rename(b, "g", s.root, "dir")); // directory to another parent
    EXPECT_EQ(s.getattr(c)->parent, s.root);
    ObjectRef e = s.mkdir(s.root, "e")->object;
    ASSERT_TRUE(s.rename(s.root, "e", s.root, "dir")); // over an empty directory
    EXPECT_ERROR(s.getattr(c), Stale);
    EXPECT_EQ(s.find("dir")->object, e);
    EXPECT_EQ(s.getattr(s.root)->nlink, 4u);
    ASSERT_TRUE(s.link(f, s.root, "same"));
    EXPECT_TRUE(s.rename(s.root, "c", s.root, "same")); // one object: nothing happens
    EXPECT_TRUE(s.find("c"));
}

TEST_F(StoreTest, ListsInPagesWhileNamesComeAndGo) {
    for (int i = 0; i < 100; i++)
        s.file(s.root, "f" + std::to_string(i));
    std::vector<std::string> seen;
    uint64_t cookie = 0;
    bool end = false;
    for (int page = 0; !end; page++) {
        int left = 7;
        s.store->readdir(
            kRootUser, s.root, cookie,
            [&](const DirectoryEntry& e) {
                seen.emplace_back(e.name);
                cookie = e.cookie;
                return --left > 0;
            },
            [&](Result<bool> r) { end = *r; });
        // Names around the cursor go and come; those of f90..f99 stay throughout.
        s.unlink(s.root, "f" + std::to_string(page * 6));
        s.unlink(s.root, "f" + std::to_string(page * 7 + 6));
        s.file(s.root, "new" + std::to_string(page));
        ASSERT_LT(page, 60);
        if (page > 30) break;
    }
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(std::unique(seen.begin(), seen.end()), seen.end());
    for (int i = 90; i < 100; i++)
        if (s.find("f" + std::to_string(i)))
            EXPECT_TRUE(std::binary_search(seen.begin(), seen.end(), "f" + std::to_string(i)));
}

TEST_F(StoreTest, RightsByOwnerGroupOther) {
    ObjectRef d = s.mkdir(s.root, "d", 0770)->object;
    ASSERT_TRUE(
        s.setattr(d, {.fields = SetAttributes::Uid | SetAttributes::Gid, .uid = 10, .gid = 20}));
    EXPECT_TRUE(s.create(d, "mine", {.mode = 0640}, as(10)));
    EXPECT_ERROR(s.create(d, "no", {}, as(11)), AccessDenied);
    uint32_t groups[] = {3, 20};
    Caller member = as(11);
    member.credentials.groups = groups;
    EXPECT_TRUE(s.create(d, "theirs", {}, member));
    EXPECT_ERROR(s.lookup("d/mine", as(12)), AccessDenied);
    EXPECT_ERROR(s.lookup("d/mine", member, {.want = kRead}), AccessDenied);
    EXPECT_TRUE(s.lookup("d/mine", as(10), {.want = kRead | kWrite}));
    ObjectRef mine = s.find("d/mine")->object;
    EXPECT_ERROR(s.setattr(mine, {.fields = SetAttributes::Mode, .mode = 0777}, member),
                 NotPermitted);
    EXPECT_ERROR(s.setattr(mine, {.fields = SetAttributes::Uid, .uid = 11}, as(10)), NotPermitted);
    EXPECT_TRUE(s.setattr(mine, {.fields = SetAttributes::Mode, .mode = 0604}, as(10)));
    // Sticky: only owners remove.
    ASSERT_TRUE(s.setattr(d, {.fields = SetAttributes::Mode, .mode = 01777}));
    EXPECT_ERROR(s.unlink(d, "mine", as(12)), NotPermitted);
    EXPECT_TRUE(s.unlink(d, "mine", as(10)));
    // Set-gid directories hand their group on; chown takes set-uid away.
    ASSERT_TRUE(s.setattr(d, {.fields = SetAttributes::Mode, .mode = 02777}));
    Attributes sub = *s.mkdir(d, "sub", 0755, as(12));
    EXPECT_EQ(sub.gid, 20u);
    EXPECT_EQ(sub.mode, 02755u);
    ObjectRef suid = s.create(d, "suid", {.mode = 04755})->attributes.object;
    EXPECT_EQ(s.setattr(suid, {.fields = SetAttributes::Uid, .uid = 3})->mode, 0755u);
    ASSERT_TRUE(s.setattr(suid, {.fields = SetAttributes::Mode, .mode = 04777}));
    ASSERT_TRUE(s.write(suid, 0, "x", as(12)));
    EXPECT_EQ(s.getattr(suid)->mode, 0777u);
}

TEST_F(StoreTest, HeldFilesOutliveTheirNames) {
    ObjectRef f = s.file(s.root, "f");
    ASSERT_TRUE(s.write(f, 0, "still here"));
    ASSERT_TRUE(s.hold(f, 4));
    ASSERT_TRUE(s.hold(f, 4));
    EXPECT_EQ(s.unlink(s.root, "f")->nlink, 0u);
    EXPECT_EQ(*s.read(f, 0, 100), "still here");
    EXPECT_EQ(s.check().orphans, 1u);
    ASSERT_TRUE(s.remount());
    EXPECT_EQ(*s.read(f, 0, 100), "still here");
    ASSERT_TRUE(s.release(f, 4));
    EXPECT_ERROR(s.read(f, 0, 1), Stale);
    EXPECT_TRUE(s.release(f, 4));
    // By death of the holder; older incarnations go with it, newer stay.
    ObjectRef g = s.file(s.root, "g"), h = s.file(s.root, "h");
    ASSERT_TRUE(s.hold(g, 5, 1));
    ASSERT_TRUE(s.hold(h, 5, 3));
    ASSERT_TRUE(s.unlink(s.root, "g"));
    ASSERT_TRUE(s.unlink(s.root, "h"));
    ASSERT_TRUE(s.fence(5, 2));
    EXPECT_ERROR(s.getattr(g), Stale);
    EXPECT_TRUE(s.getattr(h));
    ASSERT_TRUE(s.checkpoint());
    ASSERT_TRUE(s.remount());
    EXPECT_TRUE(s.getattr(h));
    ASSERT_TRUE(s.fence(5, 3));
    EXPECT_ERROR(s.getattr(h), Stale);
    EXPECT_EQ(s.check().orphans, 0u);
}

TEST_F(StoreTest, RetriesGetTheFirstResultAcrossRestart) {
    Caller c = kRootUser;
    c.request = {NodeId(3), Incarnation(9), 1};
    Result<CreateResult> first = s.create(s.root, "once", {.exclusive = true}, c);
    ASSERT_TRUE(first);
    Caller u = c;
    u.request.sequence = 2;
    ASSERT_TRUE(s.create(s.root, "gone"));
    ASSERT_TRUE(s.unlink(s.root, "gone", u));
    for (int round = 0; round < 3; round++) {
        Result<CreateResult> again = s.create(s.root, "once", {.exclusive = true}, c);
        ASSERT_TRUE(again);
        EXPECT_EQ(again->attributes.object, first->attributes.object);
        EXPECT_TRUE(s.unlink(s.root, "gone", u));
        if (round == 1) ASSERT_TRUE(s.checkpoint());
        ASSERT_TRUE(s.remount());
    }
    EXPECT_ERROR(s.unlink(s.root, "gone"), NotFound);
}

TEST_F(StoreTest, RootsAreSeparateAndRemovable) {
    ObjectRef other = s.create_root(2)->object;
    EXPECT_ERROR(s.create_root(2), Exists);
    ObjectRef f = s.file(s.root, "f");
    EXPECT_ERROR(s.rename(s.root, "f", other, "f"), CrossDevice);
    EXPECT_ERROR(s.link(f, other, "f"), CrossDevice);
    ObjectRef at = other;
    for (int i = 0; i < 20; i++) {
        for (int k = 0; k < 5; k++)
            ASSERT_TRUE(s.write(s.file(at, "f" + std::to_string(k)), 0, "data"));
        at = s.mkdir(at, "d")->object;
    }
    uint64_t objects = s.statfs().objects;
    ASSERT_TRUE(s.wait<void>([&](auto d) { s.store->remove_root(VnodeId(2), std::move(d)); }));
    EXPECT_EQ(s.statfs().objects, objects - 20 * 6 - 1);
    EXPECT_ERROR(s.getattr(at), Stale);
    EXPECT_ERROR(s.wait<Attributes>([&](auto d) { s.store->find_root(VnodeId(2), std::move(d)); }),
                 NotFound);
}

TEST_F(StoreTest, NodesAndTimesAreKept) {
    Result<CreateResult> tty =
        s.create(s.root, "tty", {.type = FileType::CharDevice, .mode = 0666, .device = 0x501});
    ASSERT_TRUE(tty);
    ASSERT_TRUE(s.create(s.root, "pipe", {.type = FileType::Fifo}));
    ASSERT_TRUE(s.setattr(
        tty->attributes.object,
        {.fields = SetAttributes::Atime | SetAttributes::Mtime, .atime = -5, .mtime = 77}));
    ASSERT_TRUE(s.remount());
    Attributes a = *s.find("tty");
    EXPECT_EQ(a.type, FileType::CharDevice);
    EXPECT_EQ(a.device, 0x501u);
    EXPECT_EQ(a.atime, -5);
    EXPECT_EQ(a.mtime, 77);
    EXPECT_ERROR(s.read(a.object, 0, 1), InvalidArgument);
    std::string got;
    ObjectRef l = s.symlink(s.root, "l", std::string(4095, 'p'))->object;
    s.store->readlink(l, [&](Result<std::string_view> r) { got = *r; });
    EXPECT_EQ(got, std::string(4095, 'p'));
    EXPECT_EQ(s.getattr(l)->size, 4095u);
}

} // namespace
} // namespace tessera::storage::test
