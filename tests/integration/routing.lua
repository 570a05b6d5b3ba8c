-- What sites do with Lua, each for images of its own: routing of modified copies, and work on stable studies.
-- "routing saw" in the log tells that a script is through with something.

local function job(path, body)
   RestApiPost(path, DumpJson(body, true))
end

local function route(instance, delete)
   local replace = { StudyDescription = 'routed' }
   -- Without private tags, hence without the block of a stamp.
   local sent = SendToModality(ModifyInstance(instance, replace, { 'OperatorsName' }, true), 'sink')
   if delete then
      Delete(sent)
   end
end

function OnStoredInstance(instance, tags, metadata, origin)
   local station = tags['StationName']
   if metadata['ModifiedFrom'] == nil and metadata['AnonymizedFrom'] == nil then
      if station == 'ROUTE' or station == 'ROUTE-AND-DELETE' then
         route(instance, station == 'ROUTE-AND-DELETE')
      elseif station == 'REPOST' and origin['RequestOrigin'] ~= 'Lua' then
         local change = { RemovePrivateTags = true, Replace = { SeriesDescription = 'copy' } }
         RestApiPost('/instances', RestApiPost('/instances/' .. instance .. '/modify', DumpJson(change, true)))
      end
   end
   print('routing saw instance of station ' .. tostring(station))
end

function OnStableStudy(study, tags, metadata)
   if metadata['ModifiedFrom'] == nil and metadata['AnonymizedFrom'] == nil then
      if tags['StudyDescription'] == 'MODIFY' then
         local change = { Asynchronous = true, RemovePrivateTags = true, Replace = { PatientName = 'CHANGED' } }
         job('/studies/' .. study .. '/modify', change)
      elseif tags['StudyDescription'] == 'ANONYMIZE' then
         job('/studies/' .. study .. '/anonymize', { Asynchronous = true, Keep = { 'StudyDescription' } })
      end
   end
   print('routing saw study ' .. tostring(tags['StudyDescription']))
end
