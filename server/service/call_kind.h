// All kinds of calls, for all doors: their names in logs and metrics, and what they need.
#pragma once

#include <cstdint>

namespace fmaserver::service {

/// Which models a call is for.
enum class ForModels : uint8_t { kAll, kDecoders, kEncoders };

struct CallKind {
  const char* method;
  /// Whether the call reads or makes tokens. A call that does not is answered even when its
  /// tenant's allowance is used up, so that the tenant can still list and delete its sessions.
  bool takes_tokens = false;
  /// Whether only administrators may make it, who have their own tokens.
  bool admin = false;
  ForModels models = ForModels::kAll;
};

/// Of one that generates or scores.
constexpr CallKind ToDecoder(const char* method, bool takes_tokens = false) {
  return {.method = method, .takes_tokens = takes_tokens, .models = ForModels::kDecoders};
}
constexpr CallKind ToEncoder(const char* method) {
  return {.method = method, .takes_tokens = true, .models = ForModels::kEncoders};
}

inline constexpr CallKind kGenerate = ToDecoder("Generate", true);
inline constexpr CallKind kChat = ToDecoder("Chat", true);
inline constexpr CallKind kOpenAiCompletion = ToDecoder("OpenAi.Completion", true);
inline constexpr CallKind kOpenAiChat = ToDecoder("OpenAi.Chat", true);
inline constexpr CallKind kOpenAiResponse = ToDecoder("OpenAi.Response", true);
inline constexpr CallKind kOpenAiGetResponse = ToDecoder("OpenAi.GetResponse");
inline constexpr CallKind kOpenAiDeleteResponse = ToDecoder("OpenAi.DeleteResponse");
inline constexpr CallKind kOpenAiTokenize{"OpenAi.Tokenize", true};
inline constexpr CallKind kOpenAiDetokenize{"OpenAi.Detokenize", true};
inline constexpr CallKind kOpenAiModels{"OpenAi.Models"};
inline constexpr CallKind kScore = ToDecoder("Score", true);
inline constexpr CallKind kEmbed = ToEncoder("Embed");
inline constexpr CallKind kFillMask = ToEncoder("FillMask");
inline constexpr CallKind kOpenAiEmbedding = ToEncoder("OpenAi.Embedding");
inline constexpr CallKind kTokenize{"Tokenize", true};
inline constexpr CallKind kDetokenize{"Detokenize", true};
inline constexpr CallKind kGetModel{"GetModel"};
inline constexpr CallKind kListModels{"ListModels"};
inline constexpr CallKind kCreateSession = ToDecoder("Sessions.Create");
inline constexpr CallKind kGetSession = ToDecoder("Sessions.Get");
inline constexpr CallKind kListSessions = ToDecoder("Sessions.List");
inline constexpr CallKind kUpdateSession = ToDecoder("Sessions.Update");
inline constexpr CallKind kForkSession = ToDecoder("Sessions.Fork");
inline constexpr CallKind kRewindSession = ToDecoder("Sessions.Rewind");
inline constexpr CallKind kDeleteSession = ToDecoder("Sessions.Delete");
inline constexpr CallKind kExportSession = ToDecoder("Sessions.Export");
inline constexpr CallKind kImportSession = ToDecoder("Sessions.Import");
inline constexpr CallKind kModelInfer = ToDecoder("KServe.ModelInfer", true);
inline constexpr CallKind kModelStreamInfer = ToDecoder("KServe.ModelStreamInfer", true);
inline constexpr CallKind kServerLive{"KServe.ServerLive"};
inline constexpr CallKind kServerReady{"KServe.ServerReady"};
inline constexpr CallKind kModelReady{"KServe.ModelReady"};
inline constexpr CallKind kServerMetadata{"KServe.ServerMetadata"};
inline constexpr CallKind kModelMetadata = ToDecoder("KServe.ModelMetadata");
inline constexpr CallKind kModelConfig = ToDecoder("KServe.ModelConfig");
inline constexpr CallKind kRepositoryIndex{"KServe.RepositoryIndex"};
inline constexpr CallKind kGenerateStream = ToDecoder("Vllm.GenerateStream", true);
inline constexpr CallKind kGetServerInfo = ToDecoder("Vllm.GetServerInfo");
inline constexpr CallKind kGetModelInfo = ToDecoder("Vllm.GetModelInfo");
inline constexpr CallKind kAbort{"Vllm.Abort"};
inline constexpr CallKind kLoadModel{.method = "Admin.LoadModel", .admin = true};
inline constexpr CallKind kUnloadModel{.method = "Admin.UnloadModel", .admin = true};

}  // namespace fmaserver::service
