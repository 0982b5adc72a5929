// Descriptors whose unsynced data is lost with the file's home: EIO once, from whatever comes next.
#include <gtest/gtest.h>

#include "monitors/process/posix/fs/store_fs.hpp"
#include "tests/unit/monitors/posix/world.hpp"

namespace tessera::posix::test {
namespace {

class LostHome : public testing::Test {
  protected:
    Ref<StoreFile> open() {
        if (!file_)
            file_ =
                w.files.create(v.id(), {}, fs.root(), "f", FileType::Regular, 0644, 0, true)->file;
        EXPECT_TRUE(w.files.hold(v.id(), file_));
        return make_ref<StoreFile>(fs, kOpenReadWrite, Location{&fs, file_, "/f"});
    }
    static Result<size_t> write(Ref<StoreFile>& d) {
        return d->write_at(0, bytes_of(std::string_view("data")));
    }
    static Result<size_t> read(Ref<StoreFile>& d) {
        std::byte into[8];
        return d->read_at(0, into);
    }
    void lose() { w.files.home++; }

    World w;
    Vnode& v = *w.vnode;
    StoreFs fs{v, w.files, 7};
    FileRef file_;
};

TEST_F(LostHome, EachDescriptorWithUnsyncedDataGetsOneError) {
    auto writer = open(), other = open(), reader = open();
    ASSERT_TRUE(write(writer));
    ASSERT_TRUE(write(other));
    lose();
    EXPECT_TRUE(read(reader));
    EXPECT_EQ(writer->sync(false).error(), Error::Io);
    EXPECT_TRUE(writer->sync(false));
    EXPECT_EQ(read(other).error(), Error::Io);
    EXPECT_TRUE(read(other));
    EXPECT_TRUE(write(writer));
    EXPECT_TRUE(writer->sync(false));
}

TEST_F(LostHome, WriteTellsIt) {
    auto d = open();
    ASSERT_TRUE(write(d));
    lose();
    EXPECT_EQ(write(d).error(), Error::Io);
    EXPECT_TRUE(write(d));
}

TEST_F(LostHome, WhatWasSyncedIsNotLost) {
    auto d = open();
    ASSERT_TRUE(write(d));
    ASSERT_TRUE(d->sync(true));
    lose();
    EXPECT_TRUE(read(d));
    EXPECT_TRUE(d->sync(false));
}

TEST_F(LostHome, CloseTellsItWhenItIsKnown) {
    auto d = open(), clean = open();
    ASSERT_TRUE(write(d));
    EXPECT_TRUE(d->closing());
    lose();
    w.files.told = true;
    EXPECT_TRUE(clean->closing());
    EXPECT_EQ(d->closing().error(), Error::Io);
    EXPECT_TRUE(d->closing());
}

} // namespace
} // namespace tessera::posix::test
