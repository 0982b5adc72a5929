#include "monitors/process/posix/file/description.hpp"

namespace tessera::posix {

void Description::record(Archive& a) {
    uint32_t f = flags();
    a.number(f);
    set_flags(f);
    a.text(where_.path);
    a.number(where_.file.id);
    a.number(where_.file.generation);
}

Ref<Description> FileSystem::magic_description(FileRef) {
    return nullptr;
}

bool permits(const Attributes& a, const Credentials& who, uint32_t want) {
    if (who.uid == 0) {
        if (!(want & kAccessExecute) || a.type == FileType::Directory) return true;
        return a.mode & 0111;
    }
    unsigned shift = 0;
    if (who.uid == a.uid) {
        shift = 6;
    } else {
        bool member = who.gid == a.gid;
        for (unsigned i = 0; i < who.group_count; i++)
            member |= who.groups[i] == a.gid;
        if (member) shift = 3;
    }
    return ((a.mode >> shift) & want) == want;
}

} // namespace tessera::posix
