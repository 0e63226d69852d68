// DirectoryShelf::Recover: lists what is there and removes what crashes left.
#include <spdlog/spdlog.h>
#include <sys/file.h>

#include <functional>
#include <set>
#include <system_error>
#include <utility>

#include "base/names.h"
#include "base/text.h"
#include "server/sessions/shelf/directory/directory_shelf.h"
#include "server/sessions/shelf/directory/names.h"

namespace fmaserver::sessions {

namespace fs = std::filesystem;

/// One pass over the directory, under its lock, so that no other server is in the middle of a Save.
class DirectoryShelf::Recovery {
 public:
  explicit Recovery(const DirectoryShelf& shelf) : shelf_(shelf) {}

  absl::StatusOr<std::vector<StoredSession>> Run();

 private:
  absl::Status VisitTenant(const std::string& tenant);
  void ReadRecord(const SessionName& name);
  void Report() const;

  const DirectoryShelf& shelf_;
  std::vector<StoredSession> sessions_;
  std::set<SessionName> damaged_;  // a record that was set aside may list their parts
  std::set<SessionName> foreign_;  // whose records cannot be read
  absl::Status why_foreign_;
  std::set<fs::path> listed_;  // files that the tenant's sessions list
};

namespace {

void RemoveScratchOfDeadServer(const fs::path& folder) {
  const absl::StatusOr<OpenFile> open = OpenFile::Folder(folder);
  if (!open.ok() || flock(open->descriptor(), LOCK_EX | LOCK_NB) != 0) return;
  std::error_code error;
  fs::remove_all(folder, error);
  if (!error) spdlog::info("{}: removed, left by a server that ended early", folder.string());
}

absl::Status ForEachEntry(const fs::path& folder,
                          const std::function<absl::Status(const fs::directory_entry&)>& visit) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (absl::Status status = visit(*entry); !status.ok()) return status;
  }
  return error ? absl::UnavailableError(Concat(folder.string(), ": ", error.message()))
               : absl::OkStatus();
}

void RemoveOrphan(const fs::path& file) {
  if (absl::Status status = Unlink(file); !status.ok()) {
    spdlog::warn("cannot remove a state that no session needs: {}", std::string(status.message()));
  }
}

}  // namespace

void DirectoryShelf::Recovery::ReadRecord(const SessionName& name) {
  absl::StatusOr<StoredSession> session = shelf_.ReadAny(name);
  if (session.ok()) {
    for (const ShelfItem& item : ItemsOf(session->contents)) {
      listed_.insert(shelf_.ItemPath(name, item));
    }
    sessions_.push_back(*std::move(session));
  } else if (absl::IsDataLoss(session.status())) {
    damaged_.insert(name);
  } else {
    foreign_.insert(name);
    why_foreign_ = session.status();
  }
}

absl::Status DirectoryShelf::Recovery::VisitTenant(const std::string& tenant) {
  listed_.clear();
  std::vector<std::pair<SessionName, fs::path>> items;
  absl::Status status = ForEachEntry(shelf_.Folder(tenant), [&](const fs::directory_entry& entry) {
    const std::string file_name = entry.path().filename().string();
    if (std::string id = SessionOfRecord(file_name); !id.empty()) {
      ReadRecord({tenant, std::move(id)});
    } else if (id = SessionOfDamagedRecord(file_name); !id.empty()) {
      damaged_.insert({tenant, std::move(id)});
    } else if (id = SessionOfItem(file_name); !id.empty()) {
      items.emplace_back(SessionName{tenant, std::move(id)}, entry.path());
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  for (const auto& [name, file] : items) {
    const bool keep = damaged_.contains(name) || foreign_.contains(name);
    if (!keep && !listed_.contains(file)) RemoveOrphan(file);
  }
  return absl::OkStatus();
}

void DirectoryShelf::Recovery::Report() const {
  if (!damaged_.empty()) {
    spdlog::warn(
        "{}: the states of {} sessions are kept beside their *.session.damaged, for "
        "example of {}; remove that file and they go with the next start",
        shelf_.dir_.string(), damaged_.size(), damaged_.begin()->id);
  }
  if (!foreign_.empty()) {
    spdlog::warn("{}: {} sessions are left alone, for example: {}", shelf_.dir_.string(),
                 foreign_.size(), std::string(why_foreign_.message()));
  }
}

absl::StatusOr<std::vector<StoredSession>> DirectoryShelf::Recovery::Run() {
  absl::Status status =
      ForEachEntry(shelf_.dir_, [this](const fs::directory_entry& entry) -> absl::Status {
        const std::string file_name = entry.path().filename().string();
        std::error_code error;
        if (!entry.is_directory(error) || error) return absl::OkStatus();
        if (std::string_view(file_name).starts_with(kScratchPrefix)) {
          RemoveScratchOfDeadServer(entry.path());
        } else if (IsName(file_name)) {
          return VisitTenant(file_name);
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  Report();
  return std::move(sessions_);
}

absl::StatusOr<std::vector<StoredSession>> DirectoryShelf::Recover() {
  const absl::StatusOr<DirectoryLock> lock = Lock();
  if (!lock.ok()) return lock.status();
  return Recovery(*this).Run();
}

}  // namespace fmaserver::sessions
