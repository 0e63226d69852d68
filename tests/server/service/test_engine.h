// A small random model behind an engine and a session store, without any door.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "model_loader/chat_template/chat_template.h"
#include "model_loader/model_config.h"
#include "model_loader/tokenizer.h"
#include "server/access/access.h"
#include "server/engine/engine.h"
#include "server/models/model_registry.h"
#include "server/sessions/session_store.h"

namespace fmaserver::testing {

/// Ends the process with the reason when `status` is an error; for what every test needs.
void Require(const absl::Status& status);

/// Ids are bytes, so that generated text is random bytes; any length; no end of sequence.
model::ModelConfig ByteModelConfig();

/// The same with learned positions, for `positions` tokens.
model::ModelConfig ShortModelConfig(int64_t positions);

/// The same without a tokenizer.
model::ModelConfig IdModelConfig();

/// The same with units that queries open, from an archive.
model::ModelConfig OpeningModelConfig();

/// With the tokenizer of ChatTokenizer(), and its "<|end|>" as the end of a sequence.
model::ModelConfig ChatModelConfig();

/// A byte-level BPE with the control tokens "<s>" and "<|end|>".
std::shared_ptr<const model::Tokenizer> ChatTokenizer();

/// "<s>ROLE\nCONTENT<|end|>\n" for each message, a system message where there is none at first,
/// and "<s>assistant\n". Refuses the role "nobody".
std::shared_ptr<const chat::ChatTemplate> TestChatTemplate();

/// `tokenizer` replaces the model's own.
std::unique_ptr<engine::Engine> MakeTestEngine(
    const model::ModelConfig& config, engine::EngineOptions options,
    std::shared_ptr<const model::Tokenizer> tokenizer = nullptr);

/// A session store for `engine`'s model.
std::unique_ptr<sessions::SessionStore> MakeTestSessions(const engine::Engine& engine,
                                                         sessions::SessionOptions options);

/// Serves an engine and its sessions as the only model, "test".
std::unique_ptr<models::ModelRegistry> ServeTestModel(
    std::unique_ptr<engine::Engine> engine, std::shared_ptr<sessions::SessionStore> sessions,
    std::shared_ptr<const chat::ChatTemplate> chat_template = nullptr);

/// By the tokens of a token file; without any, everybody may call.
std::shared_ptr<const access::Access> AccessOf(const std::string& tokens);

/// Polls until `condition` holds; false after 20 s.
bool Eventually(const std::function<bool()>& condition);

}  // namespace fmaserver::testing
