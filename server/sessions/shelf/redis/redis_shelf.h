// Sessions in a store on the network that speaks the protocol of Redis, such as Valkey. keys.h says
// what is there, scripts.h how it changes.
//
// A save writes the slots and chunks that the store has not, under their final names and with a
// short time to live; then one script compares the versions, gives all targets their record, and
// makes the items live as long as their owners. So a record never lists what is not there, and a
// server that ends in between leaves nothing behind. Each save that adds chunks makes new volumes:
// nothing that a record lists ever changes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/shelf/redis/keys.h"
#include "server/sessions/shelf/redis/open_saves.h"
#include "server/sessions/shelf/redis/store_client.h"
#include "server/sessions/state_shelf.h"

namespace fmaserver::sessions {

/// A damaged record or item stays where it is. An open item is in memory.
class RedisShelf final : public StateShelf {
 public:
  /// A volume that has so many bytes takes no more chunks: it is read as a whole.
  static constexpr int64_t kVolumeBytes = int64_t{32} << 20;
  /// The store forgets a session so much later than a server would that has used it last.
  static constexpr double kMarginSeconds = 300;
  /// A store takes no longer value.
  static constexpr int64_t kMaxValueBytes = int64_t{512} << 20;

  /// Errors as of StoreClient::Open, and for a model whose slots no store takes. A store that does
  /// not answer is none.
  static absl::StatusOr<std::unique_ptr<StateShelf>> Open(const StoreOptions& options,
                                                          const SessionModel& model,
                                                          SessionObserver& observer,
                                                          Now now = Clock::now,
                                                          int64_t volume_bytes = kVolumeBytes);

  /// None: sessions are found when they are used. Says in the log whether the store answers.
  absl::StatusOr<std::vector<StoredSession>> Recover() override;
  absl::StatusOr<std::vector<std::string>> Ids(const std::string& tenant) const override;
  absl::StatusOr<std::optional<StoredSession>> Read(const SessionName& name,
                                                    const Version& known) const override;
  absl::StatusOr<std::shared_ptr<Tail>> ReadTail(const SessionName& name,
                                                 const Version& expected) const override;
  absl::StatusOr<std::unique_ptr<OpenItem>> Open(const SessionName& name,
                                                 const ShelfItem& item) const override;
  absl::StatusOr<Saved> Save(const SavePlan& plan) override;
  absl::Status Remove(const SessionName& name, const Version& expected,
                      const std::vector<ShelfItem>& items) override;

 private:
  class Saving;

  RedisShelf(std::unique_ptr<StoreClient> client, SessionModel model, int64_t volume_bytes)
      : client_(std::move(client)),
        model_(std::move(model)),
        keys_(model_.fingerprint),
        volume_bytes_(volume_bytes) {}

  /// What the store has of a session.
  struct Found {
    Version version;
    std::string record;     ///< empty when its version is the known one
    bool is_known = false;  ///< or that of a save of ours whose end was not known
  };
  absl::StatusOr<Found> Fetch(const SessionName& name, const Version& known) const;
  /// Those that scripts.h wants: store, session, index.
  std::vector<std::string> KeysOf(const SessionName& name) const {
    return {keys_.Store(), keys_.Session(name), keys_.Index(name.tenant)};
  }

  const std::unique_ptr<StoreClient> client_;
  const SessionModel model_;
  const StoreKeys keys_;
  const int64_t volume_bytes_;
  mutable OpenSaves open_saves_;
};

/// DATA_LOSS for what a record or an item says that is not so; passes on other errors.
absl::Status StoredBadly(const std::string& key, const absl::Status& status);
/// For a reply that no script gives: UNAVAILABLE.
absl::Status ForeignReply(const StoreClient& client);

}  // namespace fmaserver::sessions
