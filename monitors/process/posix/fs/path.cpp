#include "monitors/process/posix/fs/path.hpp"

#include "monitors/process/posix/file/description.hpp"

namespace tessera::posix {
namespace {

constexpr unsigned kMostLinks = 40;
constexpr size_t kMostPath = 4095, kMostName = 255;

std::string join(const std::string& directory, std::string_view name) {
    if (directory == "/") return std::string("/").append(name);
    return directory + std::string("/").append(name);
}

std::string parent_path(const std::string& path) {
    size_t slash = path.rfind('/');
    return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

// One component and what is behind it (without leading slashes).
std::string_view first_component(std::string_view path) {
    return path.substr(0, path.find('/'));
}

std::string_view skip_slashes(std::string_view path) {
    size_t n = path.find_first_not_of('/');
    return n == std::string_view::npos ? std::string_view() : path.substr(n);
}

class Walk {
  public:
    Walk(MountTable& mounts, const PathContext& c, LastLink last)
        : mounts_(mounts), context_(c), last_(last), at_(c.start) {}

    Result<Resolved> run(std::string_view path);

  private:
    Result<void> up();
    void enter_mounts();
    Result<bool> follow(Location directory, FileRef link, const std::string& text);
    Result<bool> piece();

    MountTable& mounts_;
    const PathContext& context_;
    LastLink last_;
    Location at_;
    std::string rest_;
    unsigned links_ = 0;
    Resolved result_;
    bool have_attributes_ = false; // result_.attributes are at_'s
    bool missing_ = false;
};

// Over mount points: at_ becomes the root of what is mounted on it.
void Walk::enter_mounts() {
    while (const Mount* m = mounts_.at(at_)) {
        at_.fs = m->fs;
        at_.file = m->fs->root();
        have_attributes_ = false;
    }
}

Result<void> Walk::up() {
    have_attributes_ = false;
    while (!at_.same(context_.root) && at_.file == at_.fs->root()) {
        const Mount* m = mounts_.of(*at_.fs);
        if (!m || !m->covered) return {}; // the vNode's root is its own parent
        std::string path = at_.path;
        at_ = m->covered;
        at_.path = path;
    }
    if (at_.same(context_.root)) return {};
    WalkResult r = TRY(at_.fs->walk(context_.who, at_.file, "..", true));
    if (r.stop != WalkResult::Stop::Done) return {}; // a root without a parent
    at_.file = r.attributes.file;
    at_.path = parent_path(at_.path);
    enter_mounts();
    return {};
}

// A link was met; at_ is its directory. False: it led to a description, and the walk is over.
Result<bool> Walk::follow(Location directory, FileRef link, const std::string& text) {
    if (++links_ > kMostLinks) return Fail(Error::TooManyLinks);
    have_attributes_ = false;
    if (link) {
        if (Ref<Description> d = directory.fs->magic_description(link)) {
            if (!skip_slashes(rest_).empty()) return Fail(Error::NotDirectory);
            result_.attributes = TRY(d->attributes());
            result_.description = std::move(d);
            result_.exists = true;
            return false;
        }
        Location l = TRY(directory.fs->magic_link(link));
        if (l) {
            at_ = l;
            return true;
        }
    }
    if (text.empty()) return Fail(Error::NotFound);
    if (text.front() == '/') at_ = context_.root;
    rest_ = rest_.empty() ? text : text + "/" + rest_;
    if (rest_.size() > kMostPath) return Fail(Error::NameTooLong);
    return true;
}

// Walks one piece of rest_. False: the walk is over.
Result<bool> Walk::piece() {
    std::string_view rest = skip_slashes(rest_);
    std::string_view component = first_component(rest);
    if (component == "." || component == "..") {
        // Linux: each needs a directory with search permission.
        Attributes a = TRY(at_.fs->attributes(at_.file));
        if (a.type != FileType::Directory) return Fail(Error::NotDirectory);
        if (!permits(a, context_.who, kAccessExecute)) return Fail(Error::AccessDenied);
        std::string behind(rest.substr(component.size()));
        if (component == "..") TRY(up());
        rest_ = std::move(behind);
        result_.name.clear();
        return !skip_slashes(rest_).empty();
    }
    // As far as one file system can go at once: up to `..`, `.` or a name that may be a mount
    // point.
    size_t length = 0;
    for (std::string_view look = rest;;) {
        std::string_view c = first_component(look);
        if (c == "." || c == "..") break;
        if (c.size() > kMostName) return Fail(Error::NameTooLong);
        length = static_cast<size_t>(c.data() + c.size() - rest.data());
        look = skip_slashes(look.substr(c.size()));
        if (look.empty() || mounts_.is_name(c)) break;
    }
    std::string_view ask = rest.substr(0, length);
    bool final = skip_slashes(rest.substr(length)).empty();
    bool slash = final && rest.size() > length;
    bool keep = final && last_ == LastLink::Keep && !slash;
    WalkResult r = TRY(at_.fs->walk(context_.who, at_.file, ask, !keep));
    switch (r.stop) {
        case WalkResult::Stop::DotDot:
            return Fail(Error::NotFound); // none was sent
        case WalkResult::Stop::Missing: {
            size_t cut = ask.rfind('/');
            std::string_view name = cut == std::string_view::npos ? ask : ask.substr(cut + 1);
            if (!final) return Fail(Error::NotFound);
            result_.parent = at_;
            result_.parent.file = r.attributes.file;
            for (std::string_view w = ask.substr(0, cut == std::string_view::npos ? 0 : cut);
                 !w.empty();) {
                std::string_view c = first_component(w);
                result_.parent.path = join(result_.parent.path, c);
                w = skip_slashes(w.substr(c.size()));
            }
            result_.name = name;
            result_.must_be_directory = slash;
            missing_ = true;
            return false;
        }
        case WalkResult::Stop::Symlink: {
            // `consumed` ends behind the link's name.
            std::string_view walked = ask.substr(0, r.consumed);
            while (!walked.empty() && walked.back() == '/')
                walked.remove_suffix(1);
            Location directory = at_;
            directory.file = r.attributes.file;
            while (!walked.empty()) {
                std::string_view c = first_component(walked);
                walked = skip_slashes(walked.substr(c.size()));
                if (!walked.empty()) directory.path = join(directory.path, c);
            }
            FileRef link = r.parent; // made-up file systems name their links here
            std::string behind(skip_slashes(rest.substr(std::min(r.consumed, rest.size()))));
            if (slash && behind.empty()) result_.must_be_directory = true;
            at_ = directory;
            rest_ = std::move(behind);
            bool on = TRY(follow(directory, link, r.link));
            if (!on) return false;
            if (skip_slashes(rest_).empty()) {
                result_.name.clear();
                return false;
            }
            return true;
        }
        case WalkResult::Stop::Done:
            break;
    }
    Location parent = at_;
    parent.file = r.parent;
    std::string_view name;
    for (std::string_view w = ask; !w.empty();) {
        name = first_component(w);
        w = skip_slashes(w.substr(name.size()));
        if (!w.empty()) parent.path = join(parent.path, name);
        at_.path = join(at_.path, name);
    }
    at_.file = r.attributes.file;
    result_.attributes = r.attributes;
    have_attributes_ = true;
    result_.name = name;
    result_.parent = parent;
    enter_mounts();
    if (final) result_.must_be_directory |= slash;
    rest_ = std::string(rest.substr(length));
    return !final;
}

Result<Resolved> Walk::run(std::string_view path) {
    if (path.empty()) return Fail(Error::NotFound);
    if (path.size() > kMostPath) return Fail(Error::NameTooLong);
    if (path.front() == '/') at_ = context_.root;
    rest_ = path;
    bool more = !skip_slashes(rest_).empty();
    result_.parent = at_;
    while (more) {
        more = TRY(piece());
        if (more && have_attributes_ && result_.attributes.type != FileType::Directory)
            return Fail(Error::NotDirectory);
    }
    if (result_.description || missing_) return std::move(result_);
    if (!have_attributes_) result_.attributes = TRY(at_.fs->attributes(at_.file));
    if (result_.must_be_directory && result_.attributes.type != FileType::Directory)
        return Fail(Error::NotDirectory);
    result_.exists = true;
    result_.at = at_;
    return std::move(result_);
}

} // namespace

Result<Resolved> resolve(MountTable& mounts, const PathContext& c, std::string_view path,
                         LastLink last) {
    return Walk(mounts, c, last).run(path);
}

Result<Resolved> resolve_existing(MountTable& mounts, const PathContext& c, std::string_view path,
                                  LastLink last) {
    Resolved r = TRY(resolve(mounts, c, path, last));
    if (!r.exists) return Fail(Error::NotFound);
    return r;
}

void MountTable::add(FileSystem& fs, const Location& covered, std::string point) {
    auto m = std::make_unique<Mount>();
    m->fs = &fs;
    m->covered = covered;
    m->point = std::move(point);
    mounts_.push_back(std::move(m));
}

std::vector<Mount> MountTable::all() {
    std::vector<Mount> v;
    for (auto& m : mounts_)
        v.push_back(*m);
    return v;
}

const Mount* MountTable::at(const Location& l) {
    for (auto& m : mounts_)
        if (m->covered && m->covered.same(l)) return m.get();
    return nullptr;
}

const Mount* MountTable::of(const FileSystem& fs) {
    for (auto& m : mounts_)
        if (m->fs == &fs) return m.get();
    return nullptr;
}

bool MountTable::is_name(std::string_view component) {
    for (auto& m : mounts_) {
        size_t slash = m->point.rfind('/');
        if (slash != std::string::npos && std::string_view(m->point).substr(slash + 1) == component)
            return true;
    }
    return false;
}

} // namespace tessera::posix
