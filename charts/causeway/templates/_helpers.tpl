{{/* Generated from crates/install by `./x generate`: do not edit. */}}
{{- define "causeway.controllerConfig" -}}
cluster:
  name: {{ .Values.cluster.name | toRawJson }}
  id: {{ .Values.cluster.id | toRawJson }}
  podCIDRs: {{ .Values.cluster.podCIDRs | toRawJson }}
  serviceCIDRs: {{ .Values.cluster.serviceCIDRs | toRawJson }}
  clustersetCIDRs: {{ .Values.multicluster.clustersetCIDRs | toRawJson }}
  peerCIDRs: {{ .Values.cluster.peerCIDRs | toRawJson }}
  nodeMaskSizeIPv4: {{ .Values.cluster.nodeMaskSizeIPv4 | toRawJson }}
  nodeMaskSizeIPv6: {{ .Values.cluster.nodeMaskSizeIPv6 | toRawJson }}
source:
  kubernetes:
    namespace: {{ .Values.namespace | toRawJson }}
listen: {{ printf "[::]:%v" .Values.controllers.port | toRawJson }}
httpListen: {{ printf "[::]:%v" .Values.controllers.httpPort | toRawJson }}
advertise:
{{- range .Values.controllers.addresses }}
- {{ . | toRawJson }}
{{- else }}
  []
{{- end }}
advertiseToClusters:
{{- range .Values.controllers.addressesForClusters }}
- {{ . | toRawJson }}
{{- else }}
  []
{{- end }}
authority:
  rootDays: {{ .Values.controllers.authority.rootDays | toRawJson }}
  rotateAfterDays: {{ .Values.controllers.authority.rotateAfterDays | toRawJson }}
  graceDays: {{ .Values.controllers.authority.graceDays | toRawJson }}
link:
  budget:
    objects: {{ .Values.link.budget.objects | toRawJson }}
    bytes: {{ .Values.link.budget.bytes | toRawJson }}
    changesPerSecond: {{ .Values.link.budget.changesPerSecond | toRawJson }}
    bytesPerSecond: {{ .Values.link.budget.bytesPerSecond | toRawJson }}
  forgetAfter: {{ .Values.link.forgetAfter | toRawJson }}
multicluster:
  shareNamespaces: {{ .Values.multicluster.shareNamespaces | toRawJson }}
  importWithoutNamespace: {{ .Values.multicluster.importWithoutNamespace | toRawJson }}
  importGlobalServices: {{ .Values.multicluster.importGlobalServices | toRawJson }}
  endpointSlices: {{ .Values.multicluster.endpointSlices | toRawJson }}
  clustersetName: {{ .Values.multicluster.clustersetName | toRawJson }}
services:
  traffic: {{ .Values.services.traffic | toRawJson }}
policy:
  distributed: {{ .Values.policy.distributed | toRawJson }}
  selectors: {{ .Values.policy.selectors | toRawJson }}
  host: {{ .Values.policy.host | toRawJson }}
  hostAlwaysAllowed: {{ .Values.policy.hostAlwaysAllowed | toRawJson }}
  wireguardPort: {{ .Values.agent.wireguardPort | toRawJson }}
  vxlanPort: {{ .Values.agent.vxlanPort | toRawJson }}
mesh:
  granularity: {{ .Values.mesh.granularity | toRawJson }}
  encryption: {{ .Values.mesh.encryption | toRawJson }}
  encapsulate: {{ .Values.mesh.encapsulate | toRawJson }}
  locations: {{ .Values.mesh.locations | toRawJson }}
  topologyLabel: {{ .Values.mesh.topologyLabel | toRawJson }}
{{- end -}}
{{- define "causeway.agentConfig" -}}
cluster: {{ .Values.cluster.name | toRawJson }}
controllers:
{{- range .Values.controllers.addresses }}
- {{ . | toRawJson }}
{{- else }}
  []
{{- end }}
serviceAccount:
  token: /run/secrets/causeway/token
  roots: /run/secrets/causeway/ca.crt
hostRoot: {{ .Values.agent.hostRoot | toRawJson }}
cni:
  binDirs: {{ .Values.agent.cni.binDirs | toRawJson }}
  confDir: {{ .Values.agent.cni.confDir | toRawJson }}
interface: {{ .Values.agent.interface | toRawJson }}
underlay: {{ .Values.agent.underlay | toRawJson }}
wireguardPort: {{ .Values.agent.wireguardPort | toRawJson }}
vxlanPort: {{ .Values.agent.vxlanPort | toRawJson }}
keyRotation: {{ .Values.mesh.keyRotation | toRawJson }}
{{- if .Values.mesh.presharedKeys.secret }}
presharedKeys:
  folder: /run/secrets/causeway-preshared-keys
  required: {{ .Values.mesh.presharedKeys.required | toRawJson }}
{{- end }}
httpListen: {{ printf "[::]:%v" .Values.agent.httpPort | toRawJson }}
{{- if .Values.agent.dns.enabled }}
dns:
  listen: {{ .Values.agent.dns.listen | toRawJson }}
{{- if .Values.agent.dns.upstreams }}
  upstreams: {{ .Values.agent.dns.upstreams | toRawJson }}
{{- end }}
  clusterDomain: {{ .Values.agent.dns.clusterDomain | toRawJson }}
  clustersetDomain: {{ .Values.agent.dns.clustersetDomain | toRawJson }}
{{- end }}
masquerade: {{ .Values.agent.masquerade | toRawJson }}
nonMasqueradeCIDRs: {{ .Values.agent.nonMasqueradeCIDRs | toRawJson }}
clusters: {{ .Values.services.clusters | toRawJson }}
services:
  nodePortAddresses: {{ .Values.services.nodePortAddresses | toRawJson }}
  loadBalancerMode: {{ .Values.services.loadBalancerMode | toRawJson }}
  loadBalancerAlgorithm: {{ .Values.services.loadBalancerAlgorithm | toRawJson }}
  maglevTableSize: {{ .Values.services.maglevTableSize | toRawJson }}
  resetGoneBackends: {{ .Values.services.resetGoneBackends | toRawJson }}
  goneBackendGracePeriodSeconds: {{ .Values.services.goneBackendGracePeriodSeconds | toRawJson }}
  ejectOutliers: {{ .Values.services.ejectOutliers | toRawJson }}
policy:
  enabled: {{ .Values.policy.enabled | toRawJson }}
  selectors: {{ .Values.policy.selectors | toRawJson }}
  established: {{ .Values.policy.established | toRawJson }}
  host: {{ .Values.policy.host | toRawJson }}
  hostAlwaysAllowed: {{ .Values.policy.hostAlwaysAllowed | toRawJson }}
failClosed: {{ concat .Values.cluster.podCIDRs .Values.agent.failClosed | toRawJson }}
{{- end -}}
{{- define "causeway.settings" -}}
{{ omit .Values "global" | toRawJson }}
{{- end -}}
