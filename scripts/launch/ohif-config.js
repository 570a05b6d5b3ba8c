// OHIF's configuration as `scripts/run --viewer` serves it. The filtered views of the research root are data sources
// of their own (`?datasources=NAME`), because OHIF's study list hands no filter of ours on.
const views = VIEWS;

window.config = {
  routerBasename: null,
  extensions: [],
  modes: [],
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  strictZSpacingForVolumeViewport: true,
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: views[0].name,
  dataSources: views.map(view => ({
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: view.name,
    configuration: {
      friendlyName: view.title,
      name: view.name,
      qidoRoot: view.root,
      wadoRoot: view.root,
      wadoUriRoot: view.root,
      qidoSupportsIncludeField: true,
      supportsFuzzyMatching: false,
      supportsWildcard: true,
      imageRendering: 'wadors',
      thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true,
      staticWado: false,
      singlepart: 'bulkdata,video,pdf',
      bulkDataURI: { enabled: true },
      omitQuotationForMultipartRequest: true,
    },
  })),
};
