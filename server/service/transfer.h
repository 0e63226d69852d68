// Exports and imports sessions as blobs, piece by piece, as fast as the other side takes or sends
// them.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/service/outbox.h"
#include "server/service/service.h"
#include "server/sessions/session_export.h"
#include "server/sessions/session_import.h"

namespace fmaserver::service {

/// One Export call. Each piece is read on a thread for the disk after the one before has been
/// written, so only one piece is in memory. The door's functions may be called on any thread.
class Exporting final : public std::enable_shared_from_this<Exporting> {
 public:
  using Wire = EventWire<std::string>;
  struct Request {
    std::string model;  ///< empty: the first
    std::string session_id;
    bool head_only = false;
  };
  using Parse = std::function<absl::StatusOr<Request>()>;

  static constexpr size_t kPieceBytes = size_t{512} << 10;  ///< of one event, at most

  static std::shared_ptr<Exporting> Start(Service& service, std::shared_ptr<Call> call,
                                          std::shared_ptr<Wire> wire, const Parse& parse);

  void OnWritten(const absl::Status& status);
  /// The next write will fail, and that is the end.
  void OnCancel(const absl::Status& /*why*/) {}

 private:
  Exporting(Service& service, std::shared_ptr<Call> call, std::shared_ptr<Wire> wire)
      : service_(service), call_(std::move(call)), wire_(std::move(wire)) {}

  absl::Status Open(const absl::StatusOr<Request>& request);
  void WriteNext();
  void End(const absl::Status& status);

  Service& service_;
  const std::shared_ptr<Call> call_;
  const std::shared_ptr<Wire> wire_;
  models::ModelPtr model_;  // from the opening to the end
  std::unique_ptr<sessions::SessionExport> blob_;
};

/// Where an Import call reads from: what a door implements. Neither function waits.
class ImportWire {
 public:
  virtual ~ImportWire() = default;
  /// Begins to read, and tells the call of the next piece or the end.
  virtual void Read() = 0;
  /// The end, once, never during a read.
  virtual void Finish(const absl::StatusOr<sessions::SessionInfo>& session) = 0;
};

/// One Import call. A piece is read only when the one before was taken in, so that a fast sender
/// waits. The door's functions may be called on any thread.
class Importing final : public std::enable_shared_from_this<Importing> {
 public:
  struct Piece {
    std::string model;                   ///< of the first piece; empty: the first model
    std::string session_id;              ///< of the first piece; empty: a random one
    sessions::SessionLifetime lifetime;  ///< of the first piece
    std::string data;
  };
  using Parse = std::function<absl::StatusOr<Piece>()>;

  static std::shared_ptr<Importing> Start(Service& service, std::shared_ptr<Call> call,
                                          std::shared_ptr<ImportWire> wire);

  void OnPiece(Parse parse);
  /// The sender has sent all.
  void OnEnd();
  /// The sender is gone. A door may call it before or after OnEnd; no session is made either way.
  void OnCancel(const absl::Status& why);

 private:
  Importing(Service& service, std::shared_ptr<Call> call, std::shared_ptr<ImportWire> wire)
      : service_(service), call_(std::move(call)), wire_(std::move(wire)) {}

  absl::Status Take(const absl::StatusOr<Piece>& piece);
  absl::StatusOr<sessions::SessionInfo> Complete();
  absl::Status cancelled() const;
  void End(const absl::StatusOr<sessions::SessionInfo>& session);

  Service& service_;
  const std::shared_ptr<Call> call_;
  const std::shared_ptr<ImportWire> wire_;
  models::ModelPtr model_;                           // from the first piece to the end
  std::unique_ptr<sessions::SessionImport> import_;  // from the first piece on

  mutable std::mutex mutex_;
  absl::Status cancelled_;  // guarded by mutex_
};

}  // namespace fmaserver::service
