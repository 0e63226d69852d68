// A service on a small random model, and what tests need to see of it.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model_loader/tokenizer.h"
#include "server/service/generation.h"
#include "server/service/service.h"
#include "tests/server/service/fake_door.h"
#include "tests/server/service/test_engine.h"

namespace fmaserver::testing {

inline const sessions::SessionName kStory{.tenant = kDefaultTenant, .id = "story"};

/// Bytes are tokens. It can be made to wait, as for a text of many megabytes, and counts its calls.
class GatedTokenizer final : public model::Tokenizer {
 public:
  void Shut() { SetShut(true); }
  void Open() { SetShut(false); }
  int encoded() const { return encoded_; }

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const model::ControlPlaces& control) const override {
    ++encoded_;
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [this] { return !shut_; });
    return bytes_->Encode(text, control);
  }
  std::string TokenBytes(int32_t id) const override { return bytes_->TokenBytes(id); }
  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override {
    return bytes_->Decode(ids);
  }
  int32_t VocabSize() const override { return bytes_->VocabSize(); }
  std::string_view Kind() const override { return bytes_->Kind(); }

 private:
  void SetShut(bool shut) {
    const std::lock_guard lock(mutex_);
    shut_ = shut;
    opened_.notify_all();
  }

  const std::unique_ptr<model::Tokenizer> bytes_ = model::MakeByteTokenizer(256);
  mutable std::atomic<int> encoded_ = 0;
  mutable std::mutex mutex_;
  mutable std::condition_variable opened_;
  bool shut_ = false;
};

/// Remembers every call's report.
class ReportKeeper final : public service::CallObserver {
 public:
  void OnCall(const service::CallReport& report) override {
    const std::lock_guard lock(mutex_);
    reports_.push_back(report);
  }

  /// Waits for a report of this kind and returns the newest: a call may end a moment after its
  /// reader knows.
  service::CallReport Await(const service::CallKind& kind) const {
    service::CallReport found;
    EXPECT_TRUE(Eventually([&] {
      const std::lock_guard lock(mutex_);
      const auto report = std::ranges::find(reports_.rbegin(), reports_.rend(), kind.method,
                                            &service::CallReport::method);
      if (report == reports_.rend()) return false;
      found = *report;
      return true;
    }));
    return found;
  }

  void Forget() {
    const std::lock_guard lock(mutex_);
    reports_.clear();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<service::CallReport> reports_;
};

struct TestServiceOptions {
  engine::EngineOptions engine = {.num_slots = 4, .max_queue = 100};
  sessions::SessionOptions sessions = {};
  service::RequestLimits limits = {};
  std::string tokens = {};  ///< a token file; empty: everybody may call
  bool chats = false;       ///< the model of ChatModelConfig() with a chat template
  bool opens = false;       ///< the model of OpeningModelConfig()
};

class TestService {
 public:
  explicit TestService(const TestServiceOptions& options = {});

  service::Service& operator*() { return *service_; }
  service::Service* operator->() { return service_.get(); }
  models::ModelPtr model() { return *models_->Find(""); }
  engine::Engine& engine() { return model()->engine(); }
  sessions::SessionStore& sessions() { return *sessions_; }
  const std::shared_ptr<sessions::SessionStore>& shared_sessions() { return sessions_; }
  GatedTokenizer& tokenizer() { return *tokenizer_; }
  ReportKeeper& reports() { return *reports_; }

  std::shared_ptr<service::Call> Begin(const service::CallKind& kind,
                                       const std::string& authorization = "") {
    return service_->Begin(kind, {.authorization = authorization});
  }

 private:
  const std::shared_ptr<GatedTokenizer> tokenizer_ = std::make_shared<GatedTokenizer>();
  const std::shared_ptr<ReportKeeper> reports_ = std::make_shared<ReportKeeper>();
  std::shared_ptr<sessions::SessionStore> sessions_;
  std::unique_ptr<models::ModelRegistry> models_;
  std::unique_ptr<service::Service> service_;
};

service::GenerateRequest TextRequest(const std::string& text, int64_t max_tokens);

struct GenerateCallOptions {
  std::function<void()> at_end = {};  ///< called before the reader has the end
  std::string authorization = {};
  std::optional<size_t> bytes = {};  ///< the request's size; absent: that of its text
};

/// A Generate call of the service and its reader.
class GenerateCall {
 public:
  using Door = FakeDoor<service::GenerateEvent>;

  GenerateCall(TestService& service, service::GenerateRequest request,
               const GenerateCallOptions& options = {});

  absl::Status Run() { return door_->Run(*call_); }
  Door& door() { return *door_; }
  service::Generation& call() { return *call_; }
  bool parsed() const { return *parsed_; }

  /// How many tokens a call that is over has generated.
  int64_t CountTokens() const;
  const service::GenerationFinished* finished() const;
  std::string resume_token() const;

 private:
  const std::shared_ptr<Door> door_ = std::make_shared<Door>();
  const std::shared_ptr<std::atomic<bool>> parsed_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<service::Generation> call_;
};

/// Resumes a turn on another server on the same sessions. Returns its reader, which has the end.
std::shared_ptr<GenerateCall::Door> ResumeElsewhere(
    std::unique_ptr<engine::Engine> engine, std::shared_ptr<sessions::SessionStore> sessions,
    const std::string& token);

}  // namespace fmaserver::testing
