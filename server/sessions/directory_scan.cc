// SessionDirectory::Open: lists what is there and removes what crashes left.
#include <spdlog/spdlog.h>
#include <sys/file.h>

#include <set>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "base/id.h"
#include "base/names.h"
#include "base/text.h"
#include "server/sessions/directory_lock.h"
#include "server/sessions/directory_names.h"
#include "server/sessions/session_directory.h"

namespace fmaserver::sessions {

namespace fs = std::filesystem;

/// One pass over the directory, under its lock: no other server is half way through a Save.
class SessionDirectory::Scan {
 public:
  Scan(const SessionDirectory& directory, std::vector<StoredSession>& sessions)
      : directory_(directory), sessions_(sessions) {}

  absl::Status Run();

 private:
  absl::Status ScanTenant(const std::string& tenant);
  void ReadRecord(const SessionName& name);
  void RemoveOrphan(const fs::path& file) const;

  const SessionDirectory& directory_;
  std::vector<StoredSession>& sessions_;
  std::set<SessionName> foreign_;  // sessions whose files must be left alone
  std::set<fs::path> listed_;      // state files of the tenant that its sessions list
  absl::Status why_foreign_;
};

namespace {

// Of a server that is gone: its lock can be had.
void RemoveDeadScratch(const fs::path& folder) {
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

// The session that a state file's name says it belongs to, or empty.
std::string SessionOfState(std::string_view file_name) {
  if (!file_name.ends_with(kStateSuffix)) return {};
  const std::string_view session = file_name.substr(0, file_name.find('.'));
  return IsName(session) ? std::string(session) : std::string();
}

}  // namespace

void SessionDirectory::Scan::ReadRecord(const SessionName& name) {
  absl::StatusOr<StoredSession> session = directory_.Read(name);
  if (session.ok()) {
    for (const PointPtr& point : session->contents.points) {
      listed_.insert(directory_.StatePath(name, point->id));
    }
    sessions_.push_back(*std::move(session));
  } else if (session.status().code() != absl::StatusCode::kDataLoss) {
    foreign_.insert(name);
    why_foreign_ = session.status();
  }
}

void SessionDirectory::Scan::RemoveOrphan(const fs::path& file) const {
  if (absl::Status status = Unlink(file); !status.ok()) {
    spdlog::warn("cannot remove a state that no session needs: {}", std::string(status.message()));
  }
}

absl::Status SessionDirectory::Scan::ScanTenant(const std::string& tenant) {
  listed_.clear();
  std::vector<std::pair<SessionName, fs::path>> states;
  absl::Status status =
      ForEachEntry(directory_.Folder(tenant), [&](const fs::directory_entry& entry) {
        const std::string file_name = entry.path().filename().string();
        if (std::string id = SessionOfRecord(file_name); !id.empty()) {
          ReadRecord({tenant, std::move(id)});
        } else if (id = SessionOfState(file_name); !id.empty()) {
          states.emplace_back(SessionName{tenant, std::move(id)}, entry.path());
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  for (const auto& [name, file] : states) {
    if (!foreign_.contains(name) && !listed_.contains(file)) RemoveOrphan(file);
  }
  return absl::OkStatus();
}

absl::Status SessionDirectory::Scan::Run() {
  absl::Status status =
      ForEachEntry(directory_.dir_, [this](const fs::directory_entry& entry) -> absl::Status {
        const std::string file_name = entry.path().filename().string();
        std::error_code error;
        if (!entry.is_directory(error) || error) return absl::OkStatus();
        if (std::string_view(file_name).starts_with(kScratchPrefix)) {
          RemoveDeadScratch(entry.path());
        } else if (IsName(file_name)) {
          return ScanTenant(file_name);
        }
        return absl::OkStatus();
      });
  if (!foreign_.empty()) {
    spdlog::warn("{}: {} sessions are left alone, for example: {}", directory_.dir_.string(),
                 foreign_.size(), std::string(why_foreign_.message()));
  }
  return status;
}

absl::Status SessionDirectory::MakeScratch() {
  scratch_ = dir_ / Concat(kScratchPrefix, RandomId());
  if (absl::Status status = MakeFolder(scratch_); !status.ok()) return status;
  absl::StatusOr<OpenFile> open = OpenFile::Folder(scratch_);
  if (!open.ok()) return open.status();
  if (flock(open->descriptor(), LOCK_EX | LOCK_NB) != 0) {
    return absl::UnavailableError(Concat(scratch_.string(), ": the disk cannot lock files"));
  }
  scratch_lock_ = *std::move(open);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SessionDirectory>> SessionDirectory::Open(
    fs::path dir, const SessionModel& model, std::vector<StoredSession>& sessions) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return absl::UnavailableError(Concat(dir.string(), ": ", error.message()));
  absl::StatusOr<OpenFile> lock_file = OpenFile::ForLocking(dir / "lock");
  if (!lock_file.ok()) return lock_file.status();
  auto directory =
      absl::WrapUnique(new SessionDirectory(std::move(dir), model, *std::move(lock_file)));
  const Lock lock(*directory);
  if (absl::Status status = directory->MakeScratch(); !status.ok()) return status;
  if (absl::Status status = Scan(*directory, sessions).Run(); !status.ok()) return status;
  return directory;
}

}  // namespace fmaserver::sessions
