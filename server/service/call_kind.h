// All kinds of calls, for all doors: their names in logs and metrics, and what they need.
#pragma once

namespace fmaserver::service {

struct CallKind {
  const char* method;
  /// Whether the call reads or makes tokens. A call that does not is answered even when its
  /// tenant's allowance is used up, so that the tenant can still list and delete its sessions.
  bool takes_tokens = false;
  /// Whether only administrators may make it, who have their own tokens.
  bool admin = false;
};

inline constexpr CallKind kGenerate{"Generate", true};
inline constexpr CallKind kChat{"Chat", true};
inline constexpr CallKind kOpenAiCompletion{"OpenAi.Completion", true};
inline constexpr CallKind kOpenAiChat{"OpenAi.Chat", true};
inline constexpr CallKind kOpenAiResponse{"OpenAi.Response", true};
inline constexpr CallKind kOpenAiGetResponse{"OpenAi.GetResponse"};
inline constexpr CallKind kOpenAiDeleteResponse{"OpenAi.DeleteResponse"};
inline constexpr CallKind kOpenAiTokenize{"OpenAi.Tokenize", true};
inline constexpr CallKind kOpenAiDetokenize{"OpenAi.Detokenize", true};
inline constexpr CallKind kOpenAiModels{"OpenAi.Models"};
inline constexpr CallKind kScore{"Score", true};
inline constexpr CallKind kTokenize{"Tokenize", true};
inline constexpr CallKind kDetokenize{"Detokenize", true};
inline constexpr CallKind kGetModel{"GetModel"};
inline constexpr CallKind kListModels{"ListModels"};
inline constexpr CallKind kCreateSession{"Sessions.Create"};
inline constexpr CallKind kGetSession{"Sessions.Get"};
inline constexpr CallKind kListSessions{"Sessions.List"};
inline constexpr CallKind kUpdateSession{"Sessions.Update"};
inline constexpr CallKind kForkSession{"Sessions.Fork"};
inline constexpr CallKind kRewindSession{"Sessions.Rewind"};
inline constexpr CallKind kDeleteSession{"Sessions.Delete"};
inline constexpr CallKind kExportSession{"Sessions.Export"};
inline constexpr CallKind kImportSession{"Sessions.Import"};
inline constexpr CallKind kModelInfer{"KServe.ModelInfer", true};
inline constexpr CallKind kModelStreamInfer{"KServe.ModelStreamInfer", true};
inline constexpr CallKind kServerLive{"KServe.ServerLive"};
inline constexpr CallKind kServerReady{"KServe.ServerReady"};
inline constexpr CallKind kModelReady{"KServe.ModelReady"};
inline constexpr CallKind kServerMetadata{"KServe.ServerMetadata"};
inline constexpr CallKind kModelMetadata{"KServe.ModelMetadata"};
inline constexpr CallKind kModelConfig{"KServe.ModelConfig"};
inline constexpr CallKind kRepositoryIndex{"KServe.RepositoryIndex"};
inline constexpr CallKind kGenerateStream{"Vllm.GenerateStream", true};
inline constexpr CallKind kGetServerInfo{"Vllm.GetServerInfo"};
inline constexpr CallKind kGetModelInfo{"Vllm.GetModelInfo"};
inline constexpr CallKind kAbort{"Vllm.Abort"};
inline constexpr CallKind kLoadModel{.method = "Admin.LoadModel", .admin = true};
inline constexpr CallKind kUnloadModel{.method = "Admin.UnloadModel", .admin = true};

}  // namespace fmaserver::service
