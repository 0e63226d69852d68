// States of a model that does not compute: their bytes are a function of the whole text before
// them, so that a state of another text, or of another place in it, is recognised.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "server/sessions/session_export.h"
#include "server/sessions/session_import.h"
#include "server/sessions/session_store.h"

namespace fmaserver::testing {

using Text = std::vector<int32_t>;

inline const sessions::SessionName kTalk{kDefaultTenant, "talk"};
inline constexpr int64_t kSlotBytes = 192;
inline constexpr int64_t kSmallSlotBytes = 100;  ///< in int8
inline constexpr int64_t kVocabSize = 1000;

/// Its slots are in float32, and take states in int8.
sessions::SessionModel FakeModel();

/// The same model on a server whose slots are in int8.
sessions::SessionModel FakeModelOfSmallSlots();

/// Opens a store without a sweeper; the test fails when it cannot.
std::unique_ptr<sessions::SessionStore> OpenStore(sessions::SessionOptions options,
                                                  Now now = Clock::now);

/// The state after the first `tokens` tokens of `text`; null for 0.
engine::SnapshotPtr StateAfter(const Text& text, int64_t tokens);

/// The same in int8, as a server parks it.
engine::SnapshotPtr SmallStateAfter(const Text& text, int64_t tokens);

/// StateAfter with an archive, in which every kChunkTokens tokens are a chunk. Chunks of `before`,
/// the archive of an earlier state of the text, are reused.
engine::State ArchivedAfter(const Text& text, int64_t tokens, const engine::Archive& before);
inline constexpr int64_t kChunkTokens = 5;
inline constexpr int64_t kChunkBytes = 50;

/// Whether every byte of the state belongs to `text` or its beginning, and its archive is complete
/// or, unless `archived`, empty.
bool IsStateAfter(const engine::State& state, const Text& text, bool archived);

/// Checks that the turn starts where `text` stops: its state, pending tokens and history.
void ExpectTurnOf(const sessions::Turn& turn, const Text& text, bool archived = false);

/// `count` tokens that continue `text`, a function of its length and `salt`.
Text NextTokens(const Text& text, int64_t count, int32_t salt);

/// Runs a whole turn that reads all but the last of `appended`, with points inside the turn.
absl::StatusOr<sessions::SessionInfo> RunTurn(sessions::SessionStore& store,
                                              const sessions::SessionName& name, Text& text,
                                              const Text& appended,
                                              const std::vector<int64_t>& points = {});

/// The same for a session whose states have archives, without points inside the turn.
absl::StatusOr<sessions::SessionInfo> RunArchivedTurn(sessions::SessionStore& store,
                                                      const sessions::SessionName& name, Text& text,
                                                      const Text& appended);

absl::StatusOr<std::string> ReadAll(sessions::SessionExport& blob, size_t piece_bytes);
absl::StatusOr<sessions::SessionInfo> ImportAll(sessions::SessionStore& store,
                                                const sessions::SessionName& name,
                                                const std::string& blob, size_t piece_bytes);

/// The parts that the sessions below `folder` have, and their files.
struct PartFiles {
  int64_t files = 0;         ///< of slots and volumes
  int64_t bytes = 0;         ///< of the parts of all sessions
  int64_t unique_bytes = 0;  ///< counting each part once, however many sessions share it
};
PartFiles FindParts(const std::filesystem::path& folder);

/// How many files below `folder` have a name with this ending.
int64_t CountFiles(const std::filesystem::path& folder, const std::string& suffix);

}  // namespace fmaserver::testing
